# SPDX-License-Identifier: Apache-2.0
"""The load: clients in pairs, each with a fixed number of messages in flight.

    connect --hello came back--> warm-up --1 s--> window --T s--> drain --> report

It is a closed loop: every message that arrives has one sent in return, so the
server decides the speed, and a slow server is never buried.  Every message carries
its sender's next number and the time it was sent.  Whoever receives it holds it
against the ledger: the text must be whole and from the partner, and the number
one more than the last.  At the end sending stops, and what is in flight must arrive.
A run whose ledger does not balance is void, however fast it was.

The numbers have a fixed width, so that reading one is a slice: this program must
cost less than the one that it measures.

Prints one line of JSON.  Exit status: 0, or 1 when the run is void.
"""

import argparse
import asyncio
import gc
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from bench.cpu import busy_seconds, cpu_seconds

CONNECT_SECONDS = 30.0
WARM_UP_SECONDS = 1.0
DRAIN_SECONDS = 15.0
# After the last message that is due: would a second copy of one still come?
LISTEN_SECONDS = 0.2

_TEXT = WSMsgType.TEXT
_HEAD = b'{"destination":"%s","content":"Hello, how are you?"'
_TAIL = b',"n":"%010d","t":"%019d"}'
_NUMBER = slice(-38, -28)
_TIME = slice(-21, -2)
_BEFORE_TAIL = slice(0, -len(_TAIL % (0, 0)))

_now = time.perf_counter_ns


class Client(WSListener):
    """
    One of a pair.

    Args:
        name: Its own.
        partner: The name it sends to and hears from.
        record: Takes the nanoseconds that each message was on its way.
    """

    def __init__(self, name: str, partner: str, record: Callable[[int], None]) -> None:
        self.name = name
        self.sent = 0
        self.received = 0
        self.hello: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.complaints: list[str] = []
        self._record = record
        self._sends = True
        self._to_partner = _HEAD % partner.encode() + _TAIL
        self._to_me = _HEAD % name.encode()
        self._transport: WSTransport

    def on_ws_connected(self, transport: WSTransport) -> None:
        """
        Ask for a message from itself, number 0: once it is here, so can others be.
        """
        self._transport = transport
        transport.send(_TEXT, self._to_me + _TAIL % (0, _now()))
        self.sent = 1

    def send(self) -> None:
        """The next message to the partner."""
        number = self.sent
        self.sent = number + 1
        self._transport.send(_TEXT, self._to_partner % (number, _now()))

    def stop_sending(self) -> None:
        """From now on, only receive."""
        self._sends = False

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """A message, most likely: hold it against the ledger and answer it."""
        text = frame.get_payload_as_bytes()
        expected = self.received
        if text[_BEFORE_TAIL] == self._to_me:
            number = int(text[_NUMBER])
            self.received = expected + 1
            if number != expected:
                self._complain(f"expected number {expected}, got {number}")
            elif number == 0:
                self.hello.set_result(None)
            else:
                self._record(_now() - int(text[_TIME]))
                if self._sends:
                    self.send()
        elif frame.msg_type is WSMsgType.CLOSE:
            self._complain(f"the server closed with {frame.get_close_code()}")
        elif frame.msg_type not in (WSMsgType.PING, WSMsgType.PONG):
            self._complain(f"unexpected: {text[:200]!r}")

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """Only right after the ledger has been closed."""
        self._complain("the socket was closed")

    def disconnect(self) -> None:
        self._transport.disconnect()

    def _complain(self, complaint: str) -> None:
        if len(self.complaints) < 3:
            self.complaints.append(f"{self.name}: {complaint}")


async def run(options: argparse.Namespace) -> dict[str, Any]:
    """One run, from the first connection to the last."""
    nanoseconds: list[int] = []
    clients = await _connect(options, nanoseconds.append)
    processes = dict(each.split("=") for each in options.cpu)
    gc.freeze()
    gc.disable()  # nothing here makes cycles; a pause would count as latency

    for client in clients:
        for _ in range(options.in_flight):
            client.send()
    await asyncio.sleep(WARM_UP_SECONDS)

    cpu_before = _cpu(processes)
    began = time.perf_counter()
    nanoseconds.clear()
    await asyncio.sleep(options.seconds)
    delivered = len(nanoseconds)
    seconds = time.perf_counter() - began
    cpu_after = _cpu(processes)

    complaints = await _drain(clients)
    del nanoseconds[delivered:]
    nanoseconds.sort()
    return {
        "clients": options.clients,
        "in_flight": options.in_flight,
        "delivered": delivered,
        "seconds": round(seconds, 3),
        "messages_per_second": round(delivered / seconds, 1),
        "p50_ms": _percentile(nanoseconds, 0.5),
        "p99_ms": _percentile(nanoseconds, 0.99),
        "cpu_seconds": _spent(cpu_before, cpu_after),
        "sent": sum(client.sent for client in clients),
        "received": sum(client.received for client in clients),
        "message_bytes": len((_HEAD + _TAIL) % (b"u10", 0, 0)),
        "void": complaints,
    }


async def _connect(
    options: argparse.Namespace, record: Callable[[int], None]
) -> list[Client]:
    """Everyone connected, and heard from by itself."""
    names = [f"u{number}" for number in range(options.clients)]
    clients = [
        Client(name, names[number ^ 1], record) for number, name in enumerate(names)
    ]
    async with asyncio.timeout(CONNECT_SECONDS):
        await asyncio.gather(
            *(
                ws_connect(
                    lambda client=client: client,
                    f"{options.url}/im/{client.name}",
                    enable_auto_ping=False,
                )
                for client in clients
            )
        )
        await asyncio.gather(*(client.hello for client in clients))
    return clients


async def _drain(clients: list[Client]) -> list[str]:
    """Stop sending, wait for what is in flight; everything that is not as it must."""
    for client in clients:
        client.stop_sending()
    pairs = [(client, clients[number ^ 1]) for number, client in enumerate(clients)]
    deadline = time.monotonic() + DRAIN_SECONDS
    while time.monotonic() < deadline:
        if all(left.sent == right.received for left, right in pairs):
            break
        await asyncio.sleep(0.01)
    await asyncio.sleep(LISTEN_SECONDS)
    complaints = [complaint for client in clients for complaint in client.complaints]
    complaints += [
        f"{left.name} sent {left.sent}, {right.name} received {right.received}"
        for left, right in pairs
        if left.sent != right.received
    ]
    for client in clients:
        client.disconnect()
    return complaints


def _cpu(processes: dict[str, str]) -> dict[str, float | None]:
    used = {name: cpu_seconds(int(pid)) for name, pid in processes.items()}
    return used | {"generator": time.process_time(), "machine": busy_seconds()}


def _spent(
    before: dict[str, float | None], after: dict[str, float | None]
) -> dict[str, float | None]:
    """Seconds between two readings; ``others`` is what nobody we know has used."""
    spent = {
        name: None if used is None else round(used - (before[name] or 0.0), 3)
        for name, used in after.items()
    }
    machine = spent.pop("machine")
    known = sum(used or 0.0 for used in spent.values())
    others = None if machine is None else round(max(0.0, machine - known), 3)
    return spent | {"others": others}


def _percentile(ordered: list[int], part: float) -> float | None:
    if not ordered:
        return None
    return round(ordered[int(len(ordered) * part)] / 1e6, 3)


def main() -> int:
    parser = argparse.ArgumentParser(description="Load for one server.")
    parser.add_argument("url", help="as ws://127.0.0.1:8888")
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--in-flight", type=int, default=20, help="of each client")
    parser.add_argument("--seconds", type=float, default=5, help="measured")
    parser.add_argument(
        "--cpu",
        action="append",
        default=[],
        metavar="NAME=PID",
        help="report this process's CPU time in the window too",
    )
    options = parser.parse_args()
    if options.clients % 2:
        parser.error("clients come in pairs")
    measured = uvloop.run(run(options))
    print(json.dumps(measured), flush=True)
    return 1 if measured["void"] else 0


if __name__ == "__main__":
    sys.exit(main())
