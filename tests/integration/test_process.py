# SPDX-License-Identifier: Apache-2.0
"""Chatmotor as a process: how it starts, what it says, how it ends."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from tests.harness.node import DEADLINE_SECONDS, ROOT, ChatmotorNode, heard, say
from tests.harness.ports import free_port
from tests.harness.rabbitmq import PrivateRabbit
from tests.integration.conftest import on_rabbit


def refusal(*arguments: str, **environment: str) -> str:
    """The one sentence of a start that fails."""
    clean = {name: value for name, value in os.environ.items() if name[:3] != "CM_"}
    done = subprocess.run(
        [sys.executable, "-m", "chatmotor", "serve", *arguments],
        cwd=ROOT,
        env=clean | {"CM_BROKER": "embedded"} | environment,
        capture_output=True,
        timeout=DEADLINE_SECONDS,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    return line


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    """The sentence names the port and the ways to choose another."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        line = refusal("--port", str(port), "--data-dir", str(tmp_path))

    assert f"127.0.0.1:{port} is taken by another program" in line
    assert "--port" in line
    assert "CM_TORNADO_LISTEN_PORT" in line


def test_an_unwritable_data_directory_is_named(tmp_path: Path) -> None:
    """Also as root: a file stands where the directory should be."""
    (tmp_path / "file").touch()

    line = refusal("--port", "0", "--data-dir", str(tmp_path / "file" / "data"))

    assert f"data directory {tmp_path}/file/data cannot be written" in line
    assert "--data-dir" in line


def test_an_unknown_host_is_named(tmp_path: Path) -> None:
    """An address of another machine cannot be listened on."""
    line = refusal("--host", "192.0.2.1", "--port", "0", "--data-dir", str(tmp_path))

    assert "192.0.2.1:0 is no address of this machine" in line


def test_an_unknown_option_suggests_the_near_one(tmp_path: Path) -> None:
    """A typing error is not silently a default."""
    data = str(tmp_path)

    line = refusal("--data-dir", data, CM_TORNADO_LISTEN_PROT="9")

    assert "unknown option CM_TORNADO_LISTEN_PROT" in line
    assert "did you mean CM_TORNADO_LISTEN_PORT?" in line


def test_workers_need_rabbitmq(tmp_path: Path) -> None:
    """Several processes on the embedded broker could not reach each other: refused."""
    line = refusal("--workers", "2", "--port", "0", "--data-dir", str(tmp_path))

    assert "several workers reach each other through RabbitMQ" in line
    assert "embedded" in line


def test_workers_need_a_shared_database(tmp_path: Path, rabbit: PrivateRabbit) -> None:
    """An SQLite file has one process; the sentence says what to set."""
    line = refusal(
        *("--workers", "2", "--port", "0", "--data-dir", str(tmp_path)),
        CM_BROKER="rabbitmq",
        CM_RABBIT_PORT=str(rabbit.port),
    )

    assert "SQLite has one process: set STORE to postgres" in line


def test_missing_bindings_are_named(tmp_path: Path) -> None:
    """--bindings and CM_BINDINGS name a file with interface_bindings."""
    line = refusal("--bindings", str(tmp_path / "none.py"), "--data-dir", str(tmp_path))

    assert "there is no bindings file" in line

    (tmp_path / "empty.py").write_text("")
    line = refusal("--data-dir", str(tmp_path), CM_BINDINGS=str(tmp_path / "empty.py"))

    assert "has no interface_bindings" in line


async def test_auto_takes_rabbitmq_when_it_answers(rabbit: PrivateRabbit) -> None:
    """The first line says which broker, and how to get the other."""
    port = {"CM_RABBIT_PORT": str(rabbit.port)}
    async with ChatmotorNode(CM_BROKER="auto", **port) as node:
        assert f"through RabbitMQ at 127.0.0.1:{rabbit.port}" in node.first_line
        assert 'BROKER = "embedded"' in node.first_line
        await node.until_broker_is("connected")
    nobody = {"CM_RABBIT_PORT": str(free_port())}
    async with ChatmotorNode(CM_BROKER="auto", **nobody) as node:
        assert "with the embedded broker" in node.first_line
        assert "connection refused" in node.first_line
        assert "to use RabbitMQ" in node.first_line
    async with ChatmotorNode(CM_BROKER="rabbitmq", **nobody) as node:
        assert f"through RabbitMQ at 127.0.0.1:{nobody['CM_RABBIT_PORT']}" in (
            node.first_line
        )


async def test_cluster_bindings_never_fall_back(on_postgres: dict[str, str]) -> None:
    """chatmotor/bindings_cluster.py is RabbitMQ and PostgreSQL, whatever BROKER and
    STORE say.
    """
    bindings = str(ROOT / "chatmotor" / "bindings_cluster.py")
    options = on_postgres | {
        "CM_BROKER": "auto",
        "CM_STORE": "sqlite",
        "CM_RABBIT_PORT": str(free_port()),
    }
    async with ChatmotorNode("--bindings", bindings, **options) as node:
        assert "rabbitmq" == (await node.readiness())["broker"]["kind"]


async def test_fab_runserver_serves_with_defaults(tmp_path: Path) -> None:
    """The first Chatmotor's command, without CM_CONFIG_HOME and CM_BINDINGS."""
    clean = {name: value for name, value in os.environ.items() if name[:3] != "CM_"}
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).parent / "fab",
        "runserver",
        cwd=ROOT,
        env=clean
        | {
            "CM_TORNADO_LISTEN_PORT": str(free_port()),
            "CM_RABBIT_PORT": str(free_port()),
            "CM_DATA_DIR": str(tmp_path),
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    async with asyncio.timeout(DEADLINE_SECONDS):
        line = await process.stdout.readline()
        assert line.startswith(b"Chatmotor ")
        await asyncio.sleep(0)
        process.send_signal(signal.SIGINT)
        _, log = await process.communicate()
    assert b"Traceback" not in log


async def test_the_secret_is_made_once_and_kept_private(tmp_path: Path) -> None:
    """DATA_DIR/secrets.json has mode 0600 and survives a restart."""
    data = tmp_path / "data"
    async with ChatmotorNode("--data-dir", str(data), CM_BROKER="embedded"):
        first = (data / "secrets.json").read_text()
        assert 0o600 == stat.S_IMODE((data / "secrets.json").stat().st_mode)
        assert 0o700 == stat.S_IMODE(data.stat().st_mode)
    async with ChatmotorNode("--data-dir", str(data), CM_BROKER="embedded"):
        assert first == (data / "secrets.json").read_text()
    assert 40 < len(json.loads(first)["cookie_secret"])


async def test_health_and_metrics() -> None:
    """/healthz and /readyz are public, /metrics is on the admin port alone."""
    async with ChatmotorNode(CM_BROKER="embedded") as node:
        async with node.connect("alice") as alice:
            for n in range(3):
                await say(alice, "alice", n)
            await say(alice, "nobody", 0)
            await heard(alice, 3)

            assert 1 == await node.metric("chatmotor_connections")
            for name, value in {
                'chatmotor_messages_total{direction="in"}': 4,
                'chatmotor_messages_total{direction="out"}': 3,
                'chatmotor_messages_dropped_total{reason="no_recipient"}': 1,
                "chatmotor_publish_seconds_count": 4,
                "chatmotor_delivery_seconds_count": 3,
                'chatmotor_broker_state{broker="embedded",state="connected"}': 1,
            }.items():
                assert value == await node.metric(name), name
        assert (200, '{"status": "alive"}') == await node.get("/healthz")
        assert {
            "ready": True,
            "reasons": [],
            "broker": {"kind": "embedded", "state": "connected", "reason": ""},
            "store": {"up": True},
        } == await node.readiness()
        for path in ("/metrics", "/nowhere", "/im", "/readyz/"):
            status, body = await node.get(path)
            assert 404 == status
            assert "not_found" == json.loads(body)["code"]


async def test_logs_can_be_json(tmp_path: Path) -> None:
    """With formatter=json each line is an object, and no text of a chat is in it."""
    sample = ROOT / "configuration"
    (tmp_path / "config.py").write_text((sample / "config.py").read_text())
    logging = (sample / "logging.cfg").read_text()
    (tmp_path / "logging.cfg").write_text(
        logging.replace("formatter=plain", "formatter=json").replace("INFO", "DEBUG")
    )
    options = {"CM_BROKER": "embedded", "CM_CONFIG_HOME": str(tmp_path)}
    async with ChatmotorNode(**options) as node:
        async with node.connect("alice") as alice:
            await say(alice, "alice", "the-secret-text")
            await heard(alice)
            await alice.send("not json: the-secret-text")
            with pytest.raises(ConnectionClosed):
                await alice.recv()
        await node.stop()
        lines = [json.loads(line) for line in node.log().splitlines()]
        assert {"time", "level", "logger", "message"} == set(lines[0])
        assert "stopped" == lines[-1]["message"]
        assert "the-secret-text" not in node.log()


@pytest.mark.parametrize("broker", ["embedded", "rabbitmq"])
async def test_sigterm_drains(broker: str, request: pytest.FixtureRequest) -> None:
    """
    Every message sent before SIGTERM arrives, then each client is closed with 4001;
    the node ends with status 0 within 10 s.
    """
    if broker == "embedded":
        node = ChatmotorNode(CM_BROKER="embedded")
    else:
        node = on_rabbit(request.getfixturevalue("rabbit"))
    async with node:
        await node.until_broker_is("connected")
        bob = await node.connect("bob")
        senders = [await node.connect(f"s{n}") for n in range(5)]
        for n in range(400):
            for sender in senders:
                await say(sender, "bob", n)

        node.signal(signal.SIGTERM)
        async with asyncio.timeout(DEADLINE_SECONDS):
            got = [text async for text in until_closed(bob)]

        assert 4001 == bob.close_code
        assert 2000 == len(got)
        for sender in senders:
            await sender.wait_closed()
            assert 4001 == sender.close_code
        assert 0 == await node.wait()


@pytest.mark.parametrize("broker", ["embedded", "rabbitmq"])
async def test_sigterm_waits_for_a_slow_reader(
    broker: str, request: pytest.FixtureRequest
) -> None:
    """A backlog far over every buffer is delivered before the close frame."""
    if broker == "embedded":
        node = ChatmotorNode(CM_BROKER="embedded")
    else:
        node = on_rabbit(request.getfixturevalue("rabbit"))
    async with node:
        await node.until_broker_is("connected")
        bob = await node.connect("bob", max_queue=1)
        bob.transport.pause_reading()
        async with node.connect("alice") as alice:
            for n in range(600):
                await say(alice, "bob", [n, "x" * 20_000])
            await say(alice, "alice", "all accepted")
            await heard(alice)

            node.signal(signal.SIGTERM)
            bob.transport.resume_reading()
            async with asyncio.timeout(DEADLINE_SECONDS):
                got = [text async for text in until_closed(bob)]

        assert 600 == len(got)
        assert 4001 == bob.close_code
        assert 0 == await node.wait()


async def test_a_signal_that_comes_twice_is_one() -> None:
    """Process groups, and make, repeat a signal; the node drains all the same."""
    async with ChatmotorNode(CM_BROKER="embedded") as node:
        client = await node.connect("alice")
        node.signal(signal.SIGTERM)
        node.signal(signal.SIGTERM)
        node.signal(signal.SIGINT)

        await client.wait_closed()
        assert 4001 == client.close_code
        assert 0 == await node.wait()


async def test_workers_end_with_their_parent(
    rabbit: PrivateRabbit, on_postgres: dict[str, str]
) -> None:
    """SIGKILL of the parent: its workers drain and free the port."""
    async with on_rabbit(rabbit, "--workers", "2", **on_postgres) as node:
        pids = await asyncio.to_thread(_children, node.pid)
        client = await node.connect("alice")

        await node.kill()

        await client.wait_closed()
        assert 4001 == client.close_code

        async def all_gone() -> bool:
            running = await asyncio.to_thread(_running)
            return not set(pids) & {pid for pid, _ in running}

        await node.until(all_gone)


async def test_a_silent_port_is_no_rabbitmq() -> None:
    """BROKER=auto falls back when something listens there and says nothing."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = str(silent.getsockname()[1])
        async with ChatmotorNode(CM_BROKER="auto", CM_RABBIT_PORT=port) as node:
            assert "with the embedded broker" in node.first_line


async def test_a_draining_node_says_so() -> None:
    """After SIGTERM the node takes no new client, and /readyz was told why not."""
    async with ChatmotorNode(CM_BROKER="embedded") as node:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", int(node.url.rsplit(":", 1)[1])
        )
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b'{"status": "alive"}')
        client = await node.connect("alice")

        node.signal(signal.SIGTERM)

        async def is_draining() -> bool:
            return "SIGTERM: draining" in node.log()

        await node.until(is_draining)
        # The listening socket is closed; a connection that was open is told.
        writer.write(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
        async with asyncio.timeout(DEADLINE_SECONDS):
            answer = await reader.readuntil(b"}}")
        assert b"HTTP/1.1 503" in answer
        assert b"draining" in answer
        with pytest.raises(OSError):
            await node.connect("late")
        await client.wait_closed()
        writer.close()


async def test_a_dead_worker_is_started_again(
    rabbit: PrivateRabbit, on_postgres: dict[str, str]
) -> None:
    """SIGKILL of one worker: the parent starts another, and its clients return."""
    async with on_rabbit(rabbit, "--workers", "2", **on_postgres) as node:
        node.may_fail = True  # it logs the death of the worker
        pids = await asyncio.to_thread(_children, node.pid)
        assert 2 == len(pids)

        os.kill(pids[0], signal.SIGKILL)

        async def two_again() -> bool:
            now = await asyncio.to_thread(_children, node.pid)
            return len(now) == 2 and pids[0] not in now

        await node.until(two_again)
        async with node.connect("alice") as alice:
            await say(alice, "alice", "served")
            assert ["served"] == await heard(alice)
        assert 0 == await node.stop()


async def until_closed(client: ClientConnection) -> AsyncIterator[str | bytes]:
    """Every text until the server closes, whatever the code."""
    with contextlib.suppress(ConnectionClosed):
        async for text in client:
            yield text


def _children(pid: int) -> list[int]:
    return [child for child, parent in _running() if parent == pid]


def _running() -> list[tuple[int, int]]:
    """(pid, parent's pid) of every process that is not a zombie."""
    found = subprocess.run(
        ["ps", "-o", "pid=,ppid=,stat=", "-A"],
        capture_output=True,
        text=True,
        check=True,
    )
    rows = [line.split() for line in found.stdout.splitlines()]
    return [(int(pid), int(parent)) for pid, parent, stat in rows if stat[0] != "Z"]
