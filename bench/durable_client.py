# SPDX-License-Identifier: Apache-2.0
"""A client of the v1 protocol, whose messages are stored before they are answered.

    send --> ok, after the commit --> ev, its own copy
                                 `--> ev, at the partner: it sends one in return

What the server must have kept to is checked frame by frame:

- each ``ok`` answers the next send, once, and comes before the message's own event;
- the ``seq`` of the mailbox rises by one, and so does the ``n`` of the conversation,
  which has both partners' messages: none is lost, doubled or reordered;
- the own event has the numbers that the ``ok`` named.

Decoding a frame into a struct costs no more than slicing it (0.2 µs), since most of
its fields are passed over.
"""

from collections import deque
from typing import ClassVar

import msgspec
from picows import WSFrame, WSTransport

from bench.client import BEFORE_TAIL, TAIL, TEXT, Client, Times, now

ACK_EVERY = 32
_HELLO = b'{"op":"hello","id":0,"v":1,"window":256,"token":"%s"}'
_ACK = b'{"op":"ack","h":%d,"seq":%d}'
_SEND = b'{"op":"send","id":%%d,"cid":"%%d","to":"%s","body":%s}'
_BODY = b'{"content":"Hello, how are you? And your relatives?"'


class _Frame(msgspec.Struct, tag_field="op"):
    """A frame of the server, as far as it is looked at."""


class _Welcome(_Frame, tag="welcome"):
    seq: int


class _Live(_Frame, tag="live"):
    seq: int


class _Ok(_Frame, tag="ok"):
    id: int
    conv: str
    n: int
    seq: int
    dup: bool


class _Event(_Frame, tag="ev"):
    seq: int
    conv: str
    n: int
    sender: str = msgspec.field(name="from")
    body: msgspec.Raw
    cid: str | None = None


class _Ephemeral(_Frame, tag="eph"):
    t: str


_decode = msgspec.json.Decoder(_Welcome | _Live | _Ok | _Event | _Ephemeral).decode


class DurableClient(Client):
    """
    One device of an account.

    Args:
        token: The account's.
    """

    headers: ClassVar = {"Sec-WebSocket-Protocol": "chatmotor.v1"}
    message_bytes = len(_BODY + TAIL % (0, 0))
    # ``welcome`` does not wait for RabbitMQ, and every message must cross it.
    settle_seconds = 1.0

    def __init__(self, name: str, partner: str, times: Times, *, token: str) -> None:
        super().__init__(name, partner, "/v1/ws", times)
        self._hello = _HELLO % token.encode()
        self._to_partner = _SEND % (partner.encode(), _BODY + TAIL)
        self._record_answer = times.answered.append
        self._sent_at: deque[int] = deque()
        self._answered = 0
        self._stored: deque[tuple[int, int]] = deque()
        self._conv = ""
        self._n = self._seq = self._events = 0

    def on_ws_connected(self, transport: WSTransport) -> None:
        super().on_ws_connected(transport)
        transport.send(TEXT, self._hello)

    def send(self) -> None:
        number, time = self.sent, now()
        self.sent = number + 1
        self._sent_at.append(time)
        self.transport.send(TEXT, self._to_partner % (number, number, number, time))

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        try:
            found = _decode(frame.get_payload_as_bytes())
        except msgspec.MsgspecError:
            self.take_other(frame)
            return
        if type(found) is _Event:
            self._on_event(found)
        elif type(found) is _Ok:
            self._on_ok(found)
        elif type(found) is _Ephemeral:
            if found.t != "receipt":  # about one for each second and side
                self.take_other(frame)
        elif not self.ready.done():
            self._seq = found.seq
            self.ready.set_result(None)
        elif found != _Live(self._seq) or self.sent:
            self.take_other(frame)

    def missing(self, partner: Client) -> list[str]:
        missing = super().missing(partner)
        if not self.sent == self._answered == self.echoed:
            missing.append(
                f"{self.name} sent {self.sent}, has {self._answered} times ok "
                f"and {self.echoed} copies"
            )
        return missing

    def _on_ok(self, ok: _Ok) -> None:
        self._record_answer(now() - self._sent_at.popleft())
        if ok.id != self._answered or ok.dup:
            self.complain(f"expected ok {self._answered}, got {ok}")
        self._answered += 1
        self._stored.append((ok.n, ok.seq))

    def _on_event(self, event: _Event) -> None:
        self._seq += 1
        self._n += 1
        self._conv = self._conv or event.conv
        if (event.seq, event.n, event.conv) != (self._seq, self._n, self._conv):
            self.complain(
                f"expected seq {self._seq}, n {self._n}, {self._conv}; got {event}"
            )
        text = bytes(event.body)
        if text[BEFORE_TAIL] != _BODY:
            self.complain(f"not what was sent: {event}")
        elif event.sender == self.partner:
            self.arrived(text)
        elif event.cid != str(self.echoed) or not self._stored:
            self.complain(f"expected the copy of {self.echoed}, got {event}")
        elif self._stored.popleft() != (event.n, event.seq):
            self.complain(f"its ok had other numbers: {event}")
        else:
            self.echoed += 1
        self._events += 1
        if self._events % ACK_EVERY == 0:
            self.transport.send(TEXT, _ACK % (self._events, self._seq))
