# SPDX-License-Identifier: Apache-2.0
"""A private RabbitMQ: own ports, own data, own Erlang port mapper, own end.

It can be killed, stopped, started again on the same ports and paused, which is
what the tests want from a broker.
"""

import base64
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from tests.harness.ports import free_port

START_SECONDS = 90.0
STOP_SECONDS = 20.0


def _program(name: str) -> str:
    """RabbitMQ's own script: Debian's wrapper would change the user."""
    packaged = sorted(Path("/usr/lib/rabbitmq/lib").glob(f"*/sbin/{name}"))
    found = str(packaged[-1]) if packaged else shutil.which(name)
    if found is None:
        raise FileNotFoundError(f"{name} is not installed; run make test")
    return found


def _accepts(port: int) -> bool:
    with contextlib.suppress(OSError):
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    return False


class PrivateRabbit:
    """
    One RabbitMQ node.  A context manager: started on entry, gone on exit.

    Attributes:
        port: Its AMQP port on 127.0.0.1; the login is guest/guest.
        management_port: Its HTTP API, when *management* was asked for.
    """

    def __init__(self, *, management: bool = True) -> None:
        self.port = free_port()
        self.management_port = free_port()
        self._directory = Path(tempfile.mkdtemp(prefix="chatmotor-rabbitmq-"))
        self._epmd_port = free_port()
        self._distribution_port = free_port()
        self._management = management
        self._server: subprocess.Popen[bytes] | None = None
        self._epmd: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._epmd = subprocess.Popen(
            ["epmd", "-port", str(self._epmd_port), "-address", "127.0.0.1"],
            stdin=subprocess.DEVNULL,
        )
        # RabbitMQ would start one of its own, which nobody ends, if it found none.
        self._until(lambda: _accepts(self._epmd_port))
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()
        if self._epmd is not None:
            self._epmd.terminate()
            self._epmd.wait(STOP_SECONDS)
        shutil.rmtree(self._directory, ignore_errors=True)

    def start(self) -> None:
        """Start it, and return once it speaks AMQP."""
        if self._server is not None:
            return
        plugins = "[rabbitmq_management]." if self._management else "[]."
        (self._directory / "plugins").write_text(plugins)
        (self._directory / "rabbitmq.conf").write_text(
            f"management.tcp.port = {self.management_port}\n"
            "management.tcp.ip = 127.0.0.1\n"
            "collect_statistics_interval = 1000\n"
            if self._management
            else ""
        )
        with (self._directory / "out").open("ab") as out:
            self._server = subprocess.Popen(
                [_program("rabbitmq-server")],
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._until(self._speaks_amqp)

    def _until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not condition():
            ended = self._server is not None and self._server.poll() is not None
            if ended or time.monotonic() > deadline:
                raise RuntimeError((self._directory / "out").read_text()[-4000:])
            time.sleep(0.05)

    def kill(self) -> None:
        """SIGKILL: the machine it ran on is gone."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM: an orderly stop, as for an upgrade."""
        self._end(signal.SIGTERM)

    def pause(self) -> None:
        """SIGSTOP: connections stay open and nothing answers."""
        assert self._server is not None
        os.killpg(self._server.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        assert self._server is not None
        os.killpg(self._server.pid, signal.SIGCONT)

    def beam_pid(self) -> int:
        """The process id of the broker itself, for reading its CPU time."""
        text = (self._directory / "mnesia" / "pid").read_text()
        return int(text)

    def ctl(self, *arguments: str) -> str:
        """Run ``rabbitmqctl``; about a second."""
        done = subprocess.run(
            [_program("rabbitmqctl"), "--quiet", *arguments],
            env=self._environment(),
            check=True,
            capture_output=True,
            timeout=60,
        )
        return done.stdout.decode()

    def api(self, path: str, *, method: str = "GET", body: Any = None) -> Any:
        """Ask the management API, as its web page does."""
        login = base64.b64encode(b"guest:guest").decode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.management_port}/api/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Authorization": f"Basic {login}",
                "Content-Type": "application/json",
            },
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def message_counters(self) -> dict[str, int]:
        """
        Messages that RabbitMQ has received from publishers and delivered to consumers
        since its start: its global counters, which are exact at any time, unlike the
        management API's, which are sampled.
        """
        text = self.ctl("eval", "rabbit_global_counters:overview().")

        def total(name: str) -> int:
            return sum(int(n) for n in re.findall(rf"\b{name}\s*=>\s*(\d+)", text))

        return {
            "received": total("messages_received_total"),
            "delivered": total("messages_delivered_total"),
        }

    def queues(self) -> list[str]:
        """The names of the queues of the virtual host /, sorted."""
        return sorted(str(queue["name"]) for queue in self.api("queues/%2F"))

    def bindings(self, exchange: str) -> list[tuple[str, str]]:
        """(routing key, queue) of each binding of *exchange*, sorted."""
        found = self.api(f"exchanges/%2F/{quote(exchange)}/bindings/source")
        return sorted((each["routing_key"], each["destination"]) for each in found)

    def _end(self, signal_number: signal.Signals) -> None:
        server, self._server = self._server, None
        if server is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal_number)
        try:
            server.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait(STOP_SECONDS)

    def _speaks_amqp(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as probe:
                probe.sendall(b"AMQP\x00\x00\x09\x01")
                return probe.recv(1) == b"\x01"
        except OSError:
            return False

    def _environment(self) -> dict[str, str]:
        directory = str(self._directory)
        loopback = "{127,0,0,1}"
        return os.environ | {
            "HOME": directory,
            "ERL_EPMD_PORT": str(self._epmd_port),
            "RABBITMQ_NODENAME": f"test{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._distribution_port),
            "RABBITMQ_MNESIA_BASE": f"{directory}/mnesia",
            "RABBITMQ_LOG_BASE": f"{directory}/log",
            "RABBITMQ_PID_FILE": f"{directory}/mnesia/pid",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{directory}/plugins",
            "RABBITMQ_CONFIG_FILE": f"{directory}/rabbitmq",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                f"-kernel inet_dist_use_interface {loopback}"
            ),
        }
