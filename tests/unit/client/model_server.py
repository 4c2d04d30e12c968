# SPDX-License-Identifier: Apache-2.0
"""A server that is as simple as its promises, and as nasty as they allow.

It keeps the logs, counts the window, and holds a client to the rules: what it says it
has it must have handled, and what it sends twice must be the same.
"""

import json
from collections import deque
from dataclasses import dataclass, field
from typing import Any

Fields = dict[str, Any]
USER = "alice"


@dataclass
class Wire:
    """One connection, with what is under way in both directions."""

    window: int = 1
    sent: int = 0
    acked: int = 0
    place: int = 0
    replay_to: int | None = None
    welcome: bool = False
    behind: dict[str, tuple[int, int]] = field(default_factory=dict)
    to_client: deque[Fields] = field(default_factory=deque)
    to_server: deque[Fields] = field(default_factory=deque)

    @property
    def room(self) -> int:
        return self.window - (self.sent - self.acked)


class ModelServer:
    """
    The server of one account.

    Attributes:
        mailbox: Its events, from 1 on.
        groups: Logs of groups.
        since: Groups that the account is in.
        stored: Messages by cid: (conv, n, content).
        refuse_next: Refusals for now that the next sends meet.
    """

    def __init__(self, window: int) -> None:
        self.window = window
        self.epoch = "e1"
        self.mailbox: list[Fields] = []
        self.groups: dict[str, list[Fields]] = {}
        self.members: set[str] = set()
        self.stored: dict[str, tuple[str, int, Any]] = {}
        self.order: dict[str, list[str]] = {}
        self.refuse_next = 0
        self.wire: Wire | None = None
        self.handled_seq = 0  # told by the test
        self.cursor = 0

    # What happens.

    def note(self, **fields: Any) -> None:
        """An event of the mailbox."""
        seq = len(self.mailbox) + 1
        self.mailbox.append({"seq": seq, "ts": seq, **fields})
        self.push()

    def speak(self, conv: str, *, lose: bool = False, **fields: Any) -> None:
        """An event of a group; *lose*: the broker loses the notice."""
        log = self.groups.setdefault(conv, [])
        pos = len(log) + 1
        log.append({"pos": pos, "ts": pos, "conv": conv, **fields})
        wire = self.wire
        if wire is None or not wire.welcome or conv not in self.members or lose:
            return
        told = wire.behind.get(conv)
        if told is not None:
            wire.behind[conv] = (told[0], pos)
        elif wire.room > 0:
            self._event(wire, log[-1])
        else:
            wire.behind[conv] = (pos, pos)
            wire.to_client.append({"op": "behind", "conv": conv, "pos": pos})

    def join(self, conv: str) -> None:
        """The account is added."""
        since = len(self.groups.setdefault(conv, []))
        self.speak(conv, t="conv.member", actor="bob", added=[USER], removed=[])
        self.members.add(conv)
        self.note(t="conv.new", conv=conv, actor="bob", title="", since=since + 1)

    def leave(self, conv: str) -> None:
        """It is removed."""
        self.members.discard(conv)
        self.speak(conv, t="conv.member", actor="bob", added=[], removed=[USER])
        if self.wire is not None:
            self.wire.behind.pop(conv, None)
        self.note(t="conv.member", conv=conv, actor="bob", added=[], removed=[USER])

    def repeat(self, number: int) -> None:
        """An old event of the mailbox comes once more, late."""
        wire = self.wire
        if wire is not None and wire.welcome and wire.place and wire.room > 0:
            self._event(wire, self.mailbox[number % wire.place])

    # The wire.

    def connect(self) -> Wire:
        self.wire = Wire()
        return self.wire

    def cut(self) -> None:
        self.wire = None

    def _event(self, wire: Wire, fields: Fields) -> None:
        wire.sent += 1
        wire.to_client.append({"op": "ev", **fields})

    def push(self) -> None:
        """Send of the mailbox what there is room for."""
        wire = self.wire
        if wire is None or not wire.welcome:
            return
        while wire.place < len(self.mailbox) and wire.room > 0:
            wire.place += 1
            self._event(wire, self.mailbox[wire.place - 1])
            if wire.place == wire.replay_to:
                self._live(wire)

    def _live(self, wire: Wire) -> None:
        wire.to_client.append({"op": "live", "seq": wire.place})
        wire.replay_to = None

    def process(self) -> None:
        """Do the next command."""
        wire = self.wire
        assert wire is not None
        frame = wire.to_server.popleft()
        getattr(self, "_" + frame["op"].replace(".", "_"))(wire, frame)

    def _hello(self, wire: Wire, frame: Fields) -> None:
        top = len(self.mailbox)
        resume = frame.get("resume")
        wire.window = min(frame["window"], self.window)
        wire.place = top if resume is None else resume["seq"]
        places = {} if resume is None else resume["groups"]
        assert resume is None or resume["epoch"] == self.epoch
        assert resume is None or resume["seq"] <= self.handled_seq
        behind = [
            {"conv": conv, "pos": len(self.groups[conv]), "n": 0, "unread": 0}
            for conv in sorted(self.members)
            if len(self.groups[conv]) > places.get(conv, 0)
        ]
        wire.welcome = True
        wire.replay_to = top
        wire.to_client.append(
            {"op": "welcome", "id": frame["id"], "v": 1, "user": USER, "device": "d"}
            | {"session": "s", "epoch": self.epoch, "seq": top, "heartbeat": 25000}
            | {"resumed": resume is not None, "replay": top - wire.place}
            | {"reason": "first" if resume is None else None, "window": wire.window}
            | {"behind": [] if resume is None else behind, "features": [], "time": 1}
            | {"limits": {"in_flight": 4}, "expires": 1, "build": "0"}
        )
        if wire.place == top:
            self._live(wire)
        self.push()

    def _sync(self, wire: Wire, frame: Fields) -> None:
        convs = [
            {"conv": conv, "type": "group", "pos": len(self.groups[conv]), "ts": 1}
            | {"n": 0, "read": 0, "unread": 0, "mentions": 0}
            for conv in sorted(self.members)
        ]
        begin = int(frame.get("cursor", 0))
        cursor = str(begin + 1) if begin + 1 < len(convs) else None
        self._ok(wire, frame, convs=convs[begin : begin + 1], cursor=cursor)

    def _events(self, wire: Wire, frame: Fields) -> None:
        conv = frame.get("conv")
        if conv is not None and conv not in self.members:
            self._error(wire, frame, code="not_member", retry=False)
            return
        log = self.mailbox if conv is None else self.groups[conv]
        # A page may be shorter than was asked for.
        end = frame["since"] + min(frame["limit"], 3)
        page = log[frame["since"] : end]
        self._ok(wire, frame, events=page, more=end < len(log))

    def _send(self, wire: Wire, frame: Fields) -> None:
        if self.refuse_next:
            self.refuse_next -= 1
            self._error(wire, frame, code="rate_limited", retry=True, retry_ms=50)
            return
        cid, conv = frame["cid"], frame["conv"]
        known = self.stored.get(cid)
        if known is None:
            order = self.order.setdefault(conv, [])
            order.append(cid)
            known = self.stored[cid] = (conv, len(order), frame["body"])
        assert (conv, frame["body"]) == (known[0], known[2])
        self._ok(wire, frame, conv=conv, n=known[1], ts=1, dup=False)

    def _ack(self, wire: Wire, frame: Fields) -> None:
        assert wire.acked <= frame["h"] <= wire.sent
        seq = frame.get("seq", self.cursor)
        assert self.cursor <= seq <= self.handled_seq
        self.cursor = seq
        wire.acked = frame["h"]
        if wire.room > 0:
            behind, wire.behind = wire.behind, {}
            for conv, (told, pos) in behind.items():
                if pos > told:
                    wire.to_client.append({"op": "behind", "conv": conv, "pos": pos})
            self.push()

    def _ping(self, wire: Wire, _: Fields) -> None:
        wire.to_client.append({"op": "pong"})

    def _ok(self, wire: Wire, frame: Fields, **fields: Any) -> None:
        wire.to_client.append({"op": "ok", "id": frame["id"], **fields})

    def _error(self, wire: Wire, frame: Fields, **fields: Any) -> None:
        wire.to_client.append({"op": "error", "id": frame["id"], "msg": "", **fields})


def text_of(frame: Fields) -> str:
    """As it is on the wire."""
    return json.dumps(frame)
