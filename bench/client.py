# SPDX-License-Identifier: Apache-2.0
"""One client of a pair: what all protocols have in common.

Every message carries its sender's next number and the time it was sent, at the end and
with a fixed width, so that reading one is a slice: the generator must cost less than
the server that it measures.
"""

import asyncio
import time
from abc import abstractmethod
from typing import ClassVar

from picows import WSFrame, WSListener, WSMsgType, WSTransport

TEXT = WSMsgType.TEXT
# The end of each message: to read a text is to slice it.
TAIL = b',"n":"%010d","t":"%019d"}'
NUMBER = slice(-38, -28)
TIME = slice(-21, -2)
BEFORE_TAIL = slice(0, -len(TAIL % (0, 0)))

now = time.perf_counter_ns


class Times:
    """
    Nanoseconds, of all clients together.

    Attributes:
        delivered: From a send to its receipt.
        answered: From a send to its ``ok``.
    """

    def __init__(self) -> None:
        self.delivered: list[int] = []
        self.answered: list[int] = []


class Client(WSListener):
    """
    Sends to its partner and hears from it.

    Attributes:
        path: Where it connects.
        ready: Done once others can reach it.
        sent, received: Messages to the partner, and from it.
        echoed: Copies of its own messages, where it gets some.
        complaints: What was not as it must be; the first three.
        headers: Of the upgrade.
        message_bytes: What each message has in bytes, as the receiver sees it.
        settle_seconds: After everyone is ready, before the first message.
    """

    headers: ClassVar[dict[str, str]] = {}
    message_bytes: ClassVar[int]
    settle_seconds: ClassVar[float] = 0.0

    def __init__(self, name: str, partner: str, path: str, times: Times) -> None:
        self.name = name
        self.partner = partner
        self.path = path
        self.sent = 0
        self.received = 0
        self.echoed = 0
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.complaints: list[str] = []
        self.transport: WSTransport
        self._sends = True
        self._record = times.delivered.append

    @abstractmethod
    def send(self) -> None:
        """The next message to the partner."""

    def stop_sending(self) -> None:
        """From now on, only receive."""
        self._sends = False

    def arrived(self, text: bytes) -> None:
        """A whole message of the partner's: enter it, and send one in return."""
        number, expected = int(text[NUMBER]), self.received
        self.received = expected + 1
        if number != expected:
            self.complain(f"expected number {expected}, got {number}")
            return
        self._record(now() - int(text[TIME]))
        if self._sends:
            self.send()

    def missing(self, partner: "Client") -> list[str]:
        """What has not come yet, of what this client has sent."""
        if self.sent == partner.received:
            return []
        return [
            f"{self.name} sent {self.sent}, {partner.name} received {partner.received}"
        ]

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """Only right after the ledger has been closed."""
        self.complain("the socket was closed")

    def disconnect(self) -> None:
        self.transport.disconnect()

    def take_other(self, frame: WSFrame) -> None:
        """Anything but a message that is as it must be."""
        if frame.msg_type is WSMsgType.CLOSE:
            self.complain(f"the server closed with {frame.get_close_code()}")
        elif frame.msg_type not in (WSMsgType.PING, WSMsgType.PONG):
            self.complain(f"unexpected: {frame.get_payload_as_bytes()[:300]!r}")

    def complain(self, complaint: str) -> None:
        if len(self.complaints) < 3:
            self.complaints.append(f"{self.name}: {complaint}")
        if not self.ready.done():
            self.ready.set_exception(RuntimeError(self.complaints[0]))
