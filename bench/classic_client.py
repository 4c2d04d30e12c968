# SPDX-License-Identifier: Apache-2.0
"""A client of the classic mode, of Chatmotor or of the baseline."""

from picows import WSFrame, WSTransport

from bench.client import BEFORE_TAIL, TAIL, TEXT, Client, Times, now

_HEAD = b'{"destination":"%s","content":"Hello, how are you?"'


class ClassicClient(Client):
    """It begins with a message to itself: once that is here, so can others be."""

    message_bytes = len((_HEAD + TAIL) % (b"u10", 0, 0))

    def __init__(self, name: str, partner: str, times: Times) -> None:
        super().__init__(name, partner, f"/im/{name}", times)
        self._to_partner = _HEAD % partner.encode() + TAIL
        self._to_me = _HEAD % name.encode()

    def on_ws_connected(self, transport: WSTransport) -> None:
        super().on_ws_connected(transport)
        transport.send(TEXT, self._to_me + TAIL % (0, now()))
        self.sent = 1

    def send(self) -> None:
        number = self.sent
        self.sent = number + 1
        self.transport.send(TEXT, self._to_partner % (number, now()))

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        text = frame.get_payload_as_bytes()
        if text[BEFORE_TAIL] != self._to_me:
            self.take_other(frame)
        elif self.ready.done():
            self.arrived(text)
        else:
            self.received = 1
            self.ready.set_result(None)
