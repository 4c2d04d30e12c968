# SPDX-License-Identifier: Apache-2.0
"""Any order of cuts, restarts, late and lost frames: each log whole, each send once.

The model server keeps its promises and no more; a list of actions says what happens
when, and hypothesis looks for a list with which the client is wrong.
"""

import json
from random import Random
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from chatmotor.client.log_follower import Held
from chatmotor.client.memory import Memory
from chatmotor.client.session import Session
from chatmotor.client.states import State
from tests.unit.client.model_server import ModelServer, text_of
from tests.unit.client.subjects import keep

GROUPS = ("g.1", "g.2")
WINDOW = 4


class World:
    """A client, a server, and everything between them."""

    def __init__(self, events: int, joined: int) -> None:
        self.server = ModelServer(WINDOW)
        for n in range(events):
            self.server.note(t="conv.read", conv="d.1", n=n)
        for conv in GROUPS[:joined]:
            self.server.join(conv)
        self.now = 0.0
        self.memory = Memory()
        self.sent: dict[str, list[str]] = {}
        self.answers: dict[str, Any] = {}
        # Of each log, the last event that was handled, where that is known.
        self.places: dict[str | None, int] = {}
        self.start()

    def start(self) -> None:
        copy = msgspec.convert(msgspec.to_builtins(self.memory), Memory)
        self.session = Session(copy, window=WINDOW, random=Random(1))
        self.session.start()
        self.taken: Held | None = None
        self.settle()

    def settle(self) -> None:
        session = self.session
        session.advance(self.now)
        changes = session.take_changes()
        keep(self.memory, changes)
        session.saved(changes)
        session.advance(self.now)
        places = self.memory.places
        self.server.handled_seq = 0 if places is None else places.seq
        if places is not None and None not in self.places:
            self.places[None] = places.seq
            self.places |= {conv: each.pos for conv, each in places.groups.items()}
        frames = session.take_frames()
        wire = self.server.wire
        if wire is not None:
            if session.has_socket:
                wire.to_server.extend(json.loads(each) for each in frames)
            else:  # it has given the connection up
                self.server.cut()
        # A window of pushed and one of pulled events are held, and not more.
        assert len(session.inbox._queue) <= 2 * WINDOW

    def nothing(self, _: int) -> None:
        """What hypothesis makes of steps that do not matter."""

    # What happens elsewhere.

    def mailbox(self, count: int) -> None:
        for _ in range(count):
            self.server.note(t="conv.read", conv="d.1", n=len(self.server.mailbox))

    def group(self, count: int) -> None:
        self.speak(GROUPS[count % 2], count, lose=False)

    def lost_notice(self, count: int) -> None:
        """The next event brings the hole to light."""
        conv = GROUPS[count % 2]
        self.speak(conv, 1, lose=True)
        self.speak(conv, 1, lose=False)

    def speak(self, conv: str, count: int, *, lose: bool) -> None:
        for _ in range(count):
            n = len(self.server.groups.get(conv, ())) + 1
            said = {"t": "message.new", "n": n, "body": 0, "from": "bob"}
            self.server.speak(conv, lose=lose, **said)

    def come_or_go(self, count: int) -> None:
        conv = GROUPS[count % 2]
        if conv in self.server.members:
            self.server.leave(conv)
        else:
            self.server.join(conv)

    def come_back(self, count: int) -> None:
        """Removed, and added again before anybody has noticed."""
        conv = GROUPS[count % 2]
        if conv in self.server.members:
            self.server.leave(conv)
            self.speak(conv, count // 2, lose=False)
            self.server.join(conv)

    def late(self, count: int) -> None:
        self.server.repeat(count)

    def refusal(self, _: int) -> None:
        self.server.refuse_next += 1

    # The wire.

    def connect(self, _: int = 0) -> None:
        if self.server.wire is not None:
            return
        while not self.session.wants_socket:
            self.now = max(self.now, self.session.deadline(self.now))
            self.session.tick(self.now)
        self.server.connect()
        self.session.opened(self.now)
        self.settle()

    def to_client(self, count: int) -> None:
        for _ in range(count):
            wire = self.server.wire
            if wire is None or not wire.to_client:
                return
            self.session.receive(text_of(wire.to_client.popleft()), self.now)
            self.settle()
            assert 0 == self.session.counts["broken frames"], self.session.trouble

    def to_server(self, count: int) -> None:
        for _ in range(count):
            wire = self.server.wire
            if wire is None or not wire.to_server:
                return
            self.server.process()

    def flow(self, count: int) -> None:
        for _ in range(count):
            self.to_server(3)
            self.to_client(3)

    def cut(self, _: int = 0) -> None:
        if self.server.wire is not None:
            self.server.cut()
            self.session.lost(self.now, 1006)
            self.settle()

    def time(self, count: int) -> None:
        self.now += (0.06, 0.2, 6.0)[count % 3]
        self.session.tick(self.now)
        self.settle()

    # The program.

    def read(self, count: int) -> None:
        for _ in range(count):
            self.finish_last()
            held = self.session.inbox.next_event()
            if held is None:
                return
            self.taken = held
            self.check(held)

    def finish_last(self) -> None:
        held, self.taken = self.taken, None
        if held is not None:
            self.session.handled(held, self.now)
            self.places[held.conv] = held.at
            self.settle()

    def check(self, held: Held) -> None:
        """It is what comes next in its log, and what the log has there."""
        server = self.server
        log = server.mailbox if held.conv is None else server.groups[held.conv]
        mine = msgspec.to_builtins(held.event)
        assert log[held.at - 1].items() <= mine.items()
        last = self.places.get(held.conv)
        if last is not None and held.at != last + 1:
            assert held.at > last
            assert held.at - 1 in self.joined(held.conv)

    def joined(self, conv: str | None) -> set[int]:
        """Where in a group the account was added."""
        return {
            each["since"]
            for each in self.server.mailbox
            if each["t"] == "conv.new" and each["conv"] == conv
        }

    def send(self, count: int) -> None:
        conv = GROUPS[count % 2]
        for _ in range(count):
            cid = f"c{sum(map(len, self.sent.values()))}"
            self.sent.setdefault(conv, []).append(cid)
            content = msgspec.json.encode({"cid": cid, "conv": conv, "body": cid})
            self.session.put(cid, content, self.answer(cid))
        self.settle()

    def answer(self, cid: str) -> Any:
        def done(answer: Any) -> None:
            assert cid not in self.answers
            self.answers[cid] = answer

        return done

    def restart(self, _: int) -> None:
        """A kill -9, a new process with the same file; what was taken comes again."""
        self.server.cut()
        self.start()

    # What holds in the end.

    def finish(self) -> None:
        """Everything is there, once."""
        self.server.refuse_next = 0
        for _ in range(500):
            self.connect()
            self.to_server(10)
            self.to_client(10)
            self.read(100)
            self.time(1)
            if self.is_done():
                return
        raise AssertionError(f"it does not come to an end: {self.session.state}")

    def is_done(self) -> bool:
        wire, session = self.server.wire, self.session
        return (
            wire is not None
            and not wire.to_client
            and not wire.to_server
            and session.state is State.LIVE
            and not session.inbox.has_events
            and self.taken is None
            and len(session.outbox) == 0
            and wire.place == len(self.server.mailbox)
        )

    def judge(self) -> None:
        """Of each log all that there is; each message once, and in its order."""
        server, kept = self.server, self.memory.places
        assert kept is not None
        assert len(server.mailbox) == kept.seq
        mine = {conv: each.pos for conv, each in kept.groups.items() if each.member}
        assert {conv: len(server.groups[conv]) for conv in server.members} == mine
        for conv, cids in self.sent.items():
            assert cids == server.order.get(conv, [])
        for cid, answer in self.answers.items():
            assert server.stored[cid][1] == answer["n"]


_WEIGHTS = {
    World.nothing: 1,
    World.flow: 6,
    World.read: 4,
    World.connect: 4,
    World.group: 3,
    World.send: 3,
    World.mailbox: 2,
    World.time: 2,
    World.to_client: 2,
    World.to_server: 2,
    World.lost_notice: 1,
    World.come_or_go: 1,
    World.come_back: 1,
    World.late: 1,
    World.refusal: 1,
    World.cut: 1,
    World.restart: 1,
}
_ACTIONS = [action for action, weight in _WEIGHTS.items() for _ in range(weight)]
# Lists of 60 steps, as a rule.
_step = st.tuples(st.sampled_from(_ACTIONS), st.integers(1, 6))
_steps = st.lists(_step, min_size=30, max_size=100)


@settings(max_examples=200, deadline=None)
@given(events=st.integers(0, 3), joined=st.integers(0, 2), steps=_steps)
def test_any_order_of_events_ends_well(
    events: int, joined: int, steps: list[tuple[Any, int]]
) -> None:
    """What is delivered is the log, without a hole; what is sent is stored once."""
    world = World(events, joined)
    world.connect()
    world.flow(3)
    for action, count in steps:
        action(world, count)
    world.finish()
    # Of a notice that was lost, and nothing after it, a new session is told.
    world.cut()
    world.finish()
    world.judge()
