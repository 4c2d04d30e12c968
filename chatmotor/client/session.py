# SPDX-License-Identifier: Apache-2.0
"""A client's session with its server, over any number of connections.  No I/O.

    socket: opened, receive, lost --.            .--> take_frames
    clock:  tick, deadline           >  Session <---> take_changes, saved
    program: put, ask, handled -----'            `--> inbox.next_event, answers

Feed it frames and clock readings; drain frames for the socket, events for the
application and changes for the file.  Nothing here awaits, sleeps, logs or asks for the
time.  The states, and the moves between them, are in states.py.

What comes is in inbox.py, what goes in outbox.py and requests.py.
Wire reference: docs/reference/protocol.md.
"""

import itertools
from collections import Counter
from collections.abc import Mapping
from random import Random
from typing import Any

import msgspec

from chatmotor.client.backoff import Backoff
from chatmotor.client.errors import ClientError, Refused, SessionEnded
from chatmotor.client.inbox import Broken, First, Inbox
from chatmotor.client.log_follower import Held, Pull
from chatmotor.client.memory import Book, Changes, Memory
from chatmotor.client.outbox import Outbox
from chatmotor.client.requests import Done, Request, Requests
from chatmotor.client.standing import Standing
from chatmotor.client.states import TRANSITIONS, State
from chatmotor.protocol.commands import VERSION
from chatmotor.protocol.replies import Welcome
from chatmotor.protocol.session import BAD_FRAME, TOKEN_EXPIRED, may_reconnect

WELCOME_SECONDS = 15.0
PONG_SECONDS = 10.0
# A connection that has lasted so long was no failure.
SETTLED_SECONDS = 10.0
RETRY_SECONDS = 1.0
# Where a welcome does not say.
IN_FLIGHT = 32
NEVER = float("inf")
# Why a connection was given up, in the RFC's codes.
BROKEN = 1002
LOST = 1006
# Why a session was ended from here.
CLOSED_BY_US = 1000
FAILED = 1011


class Session:
    """
    One client, from its start to its end.

    Args:
        memory: What it kept from the last run.
        window: How many events may be held for the application, of those that were
            pushed, and as many of those that were pulled.
        first: Where to begin without a place: at what is ``new``, or where the server
            knows this ``device`` to be.
        renewable: Whether another token can be had.

    Attributes:
        moves: The states that it went through, to be taken.
        trouble: Why the last connection has ended, for logs.
        counts: What was ignored, and why.
        needs_token: Whether the last token has expired.
        ended: Why there is nothing more to hope for.
    """

    def __init__(
        self,
        memory: Memory,
        *,
        window: int = 256,
        first: First = "new",
        renewable: bool = False,
        random: Random | None = None,
        counts: Counter[str] | None = None,
    ) -> None:
        self.state = State.IDLE
        self.moves: list[State] = []
        self.counts: Counter[str] = Counter() if counts is None else counts
        self.trouble = ""
        self.needs_token = False
        self.ended: SessionEnded | None = None
        self.device: str | None = None
        self.welcome: Welcome | None = None
        self._book = Book(memory)
        self.inbox = Inbox(self._book, window=window, first=first, counts=self.counts)
        self.outbox = Outbox(self._book, memory.messages)
        self.standing = Standing()
        self._requests = Requests()
        self._renewable = renewable
        self._backoff = Backoff(random or Random())  # noqa: S311  # jitter
        self._ids = itertools.count(1)
        self._frames: list[bytes] = []
        self._now = 0.0
        self._retry_at = NEVER
        self._clear()

    def _clear(self) -> None:
        """Forget the connection."""
        self._frames.clear()
        self._open = False
        self._opened_at = self._heard_at = NEVER
        self._pinged = False
        self._replayed = False
        self._bye: tuple[int, str, float | None] | None = None

    @property
    def user(self) -> str | None:
        """Whose session it is, once that is known."""
        return self._book.user

    # The connection.

    def start(self) -> None:
        """Begin to connect."""
        self._move("start")

    @property
    def wants_socket(self) -> bool:
        """Whether a connection is to be made now."""
        return self.state is State.CONNECTING and not self._open

    @property
    def has_socket(self) -> bool:
        """Whether the connection is still used; if not, it is to be closed."""
        return self._open

    def opened(self, now: float) -> None:
        """A connection is there; say hello."""
        self._open = True
        self._opened_at = self._heard_at = now
        self.needs_token = False
        hello = {"op": "hello", "id": 0, "v": VERSION, "window": self.inbox.window}
        resume = self.inbox.resume()
        self._say(hello if resume is None else hello | {"resume": resume})

    def lost(
        self, now: float, code: int, reason: str = "", *, after: float | None = None
    ) -> None:
        """
        The connection has ended, or could not be made.

        Args:
            code: Its close code, or 1006.
            after: How many seconds the server wants one to wait.
        """
        if self.state in (State.IDLE, State.OFFLINE, State.CLOSED):
            return
        if self._bye is not None:
            code, reason, after = self._bye
        self._lose(now, code, reason, after)

    def _lose(self, now: float, code: int, reason: str, after: float | None) -> None:
        if not may_reconnect(code):
            self.end(code, reason)
            return
        if code == TOKEN_EXPIRED and not self._renewable:
            self.end(code, reason or "the token has expired")
            return
        self.needs_token = code == TOKEN_EXPIRED
        self.trouble = f"{code} {reason}".rstrip()
        if now - self._opened_at >= SETTLED_SECONDS:
            self._backoff.reset()
        self._retry_at = now + self._backoff.delay(after)
        self._clear()
        self._move("lost")
        self.inbox.disconnected()
        self.outbox.disconnected()
        self._requests.disconnected()

    def end(self, code: int, reason: str) -> None:
        """There is nothing more to hope for; or the client is closed, with 1000."""
        if self.state is State.CLOSED:
            return
        self.ended = SessionEnded(code, reason)
        self._clear()
        self._move("end")
        self.outbox.end(self.ended)
        self._requests.fail(self.ended)

    def end_error(self) -> SessionEnded:
        """A new error that says why it has ended."""
        assert self.ended is not None
        return SessionEnded(self.ended.code, self.ended.reason)

    def goodbye(self) -> None:
        """Before ``end``: acknowledge what was handled."""
        if self.is_welcome:
            ack = self.inbox.ack(self._now, last=True)
            if ack is not None:
                self._say({"op": "ack", **ack})

    def _move(self, cause: str) -> None:
        self.state = TRANSITIONS[self.state][cause]
        self.moves.append(self.state)

    # Time.

    def tick(self, now: float) -> None:
        """Do what is due."""
        self._now = now
        if self.state is State.OFFLINE and now >= self._retry_at:
            self._retry_at = NEVER
            self._move("retry")
        elif self._open:
            self._watch_silence(now)
        self.advance(now)

    def _watch_silence(self, now: float) -> None:
        if self.state is State.CONNECTING:
            if now - self._opened_at >= WELCOME_SECONDS:
                self._lose(now, LOST, "no welcome in time", None)
            return
        silence = now - self._heard_at
        if silence >= self._heartbeat + PONG_SECONDS:
            self._lose(now, LOST, "the server is silent", None)
        elif silence >= self._heartbeat and not self._pinged:
            self._pinged = True
            self._say({"op": "ping"})

    def deadline(self, now: float) -> float:
        """When ``tick`` is to be called, if nothing happens before; or infinity."""
        if self.state is State.OFFLINE:
            return self._retry_at
        if not self._open:
            return NEVER
        if self.state is State.CONNECTING:
            return self._opened_at + WELCOME_SECONDS
        ping_at = self._heard_at + self._heartbeat
        return min(
            ping_at + PONG_SECONDS if self._pinged else ping_at,
            self.inbox.deadline(now),
            self.outbox.deadline(now),
        )

    @property
    def _heartbeat(self) -> float:
        assert self.welcome is not None
        return max(self.welcome.heartbeat / 1000, 0.1)

    # Frames come.

    def receive(self, text: str | bytes, now: float) -> None:
        """A text frame of the server."""
        if not self._open:
            return
        self._now = self._heard_at = now
        self._pinged = False
        try:
            frame = msgspec.json.decode(text)
            if not isinstance(frame, dict):
                raise Broken("a frame is no object")
            self._take(frame, now)
        except (msgspec.MsgspecError, Broken, RecursionError, ValueError) as error:
            # The words of msgspec name fields and types, and no values.
            self.counts["broken frames"] += 1
            self._lose(now, BROKEN, f"what the server says is wrong: {error}", None)

    def _take(self, frame: dict[str, Any], now: float) -> None:
        op = frame.get("op")
        if op == "bye":
            self._take_bye(frame)
        elif op == "ping":
            self._say({"op": "pong", "id": frame.get("id")})
        elif op == "pong":
            pass
        elif self.state is State.CONNECTING:
            self._take_before_welcome(op, frame)
        elif op == "ev":
            self.inbox.take_event(frame, now)
            self._learn_directs()
        elif op in ("ok", "error"):
            self._take_answer(frame, now)
        elif op == "behind":
            self.inbox.move_on(_text(frame, "conv"), _number(frame, "pos"))
        elif op == "eph":
            self.inbox.take_ephemeral(frame)
        elif op == "live":
            self._replayed = True
        else:
            self.counts["ops unknown"] += 1

    def _take_bye(self, frame: dict[str, Any]) -> None:
        code, after = _number(frame, "code"), frame.get("after_ms")
        if frame.get("reconnect") is False and may_reconnect(code):
            code = BAD_FRAME
        wait = max(0, after) / 1000 if isinstance(after, int) else None
        self._bye = code, str(frame.get("reason", "")), wait

    def _take_before_welcome(self, op: object, frame: dict[str, Any]) -> None:
        if op == "welcome":
            self._begin(msgspec.convert(frame, Welcome))
        elif op != "error":  # after which bye says what it means
            self.counts["ops unknown"] += 1

    def _begin(self, welcome: Welcome) -> None:
        if self.user is None:
            self._book.belong_to(welcome.user)
        elif self.user != welcome.user:
            self.end(BAD_FRAME, f"this is the state of {self.user}, not {welcome.user}")
            return
        self.device, self.welcome = welcome.device, welcome
        self._move("welcome")
        if self.inbox.begin(welcome):
            self._sync(None)
        for op, fields in self.standing.renewals():
            self._requests.put(Request(op, fields, self._renewed, repeat=False))

    def _take_answer(self, frame: dict[str, Any], now: float) -> None:
        identifier = frame.get("id")
        refused = Refused.from_wire(frame) if frame["op"] == "error" else None
        request = self._requests.end(identifier)
        if request is not None:
            request.done(frame if refused is None else refused)
        elif not isinstance(identifier, int) or not self.outbox.is_asked(identifier):
            self.counts["answers to nothing"] += 1
        elif refused is not None:
            self.outbox.refuse(identifier, refused, now)
        else:
            conv = _text(frame, "conv")
            self.outbox.stored(identifier, frame, conv)

    def _learn_directs(self) -> None:
        for username, conv in self.inbox.directs:
            self.outbox.learn(username, conv)
        self.inbox.directs.clear()

    # Frames go.

    def advance(self, now: float) -> None:
        """Say what there is to say now."""
        self._now = now
        if not self.is_welcome:
            return
        ack = self.inbox.ack(now)
        if ack is not None:
            self._say({"op": "ack", **ack})
        for pull in self.inbox.pulls(now):
            self._pull(pull)
        self._send_requests()
        self._send_messages(now)
        if self.state is State.CATCHING_UP and self._replayed and self.inbox.complete:
            self._move("caught_up")

    def _send_requests(self) -> None:
        while self._room > 0:
            request = self._requests.next()
            if request is None:
                return
            identifier = next(self._ids)
            self._requests.begin(identifier, request)
            self._say({"op": request.op, "id": identifier, **request.fields})

    def _send_messages(self, now: float) -> None:
        while self._room > 0:
            message = self.outbox.next(now)
            if message is None:
                return
            identifier = next(self._ids)
            frame = b'{"op":"send","id":%d,' % identifier + message.kept.content[1:]
            limit = self._limit("frame_bytes", len(frame))
            if len(frame) > limit:
                # It would end the connection, and the next one.
                self.outbox.give_up(
                    message, Refused("too_large", f"a frame has at most {limit} bytes")
                )
                continue
            self.outbox.begin(identifier, message)
            self._frames.append(frame)

    @property
    def _room(self) -> int:
        """Commands that may be sent now."""
        limit = max(1, self._limit("in_flight", IN_FLIGHT))
        return limit - len(self._requests) - self.outbox.under_way

    def _limit(self, name: str, otherwise: int) -> int:
        assert self.welcome is not None
        return int(self.welcome.limits.get(name, otherwise))

    def _say(self, frame: Mapping[str, Any]) -> None:
        self._frames.append(msgspec.json.encode(frame))

    def take_frames(self) -> list[bytes]:
        """What is to be sent."""
        frames, self._frames = self._frames, []
        return frames

    # What the client asks for itself.

    def _pull(self, pull: Pull) -> None:
        fields: dict[str, Any] = {"since": pull.since, "limit": pull.limit}
        if pull.conv is not None:
            fields["conv"] = pull.conv

        def done(answer: Any) -> None:
            if isinstance(answer, Refused):
                self.inbox.pull_refused(pull, answer, self._now)
            elif not isinstance(answer, ClientError):
                self.inbox.take_pulled(pull, answer, self._now)
                self._learn_directs()

        self._requests.put(Request("events", fields, done, repeat=False), first=True)

    def _sync(self, cursor: str | None) -> None:
        fields = {} if cursor is None else {"cursor": cursor}

        def done(answer: Any) -> None:
            if isinstance(answer, Refused):
                # A new session asks again, and not at once.
                raise Broken(f"sync refused: {answer.code}")
            if not isinstance(answer, ClientError):
                following = self.inbox.take_sync(answer, self._now)
                self._learn_directs()
                if following is not None:
                    self._sync(following)

        self._requests.put(Request("sync", fields, done, repeat=False), first=True)

    def _renewed(self, answer: Any) -> None:
        now = self.standing.renewed(answer)
        if now is not None:
            self.inbox.add_ephemeral(now)

    # The application.

    def handled(self, held: Held, now: float) -> None:
        """See ``Inbox.handled``."""
        self._now = now
        self.inbox.handled(held, now)

    @property
    def is_welcome(self) -> bool:
        """Whether commands are answered now."""
        return self.state in (State.CATCHING_UP, State.LIVE)

    def put(self, cid: str, content: bytes, done: Done | None) -> None:
        """
        Have a message sent; see ``Outbox.put``.

        Raises:
            SessionEnded: There is nobody to send it to.
        """
        if self.ended is not None:
            raise self.end_error()
        self.outbox.put(cid, content, done)

    def ask(self, op: str, fields: dict[str, Any], done: Done, *, repeat: bool) -> None:
        """
        Have a command done.

        Args:
            done: Called with the fields of ``ok``, or an error.
            repeat: Whether it is sent again on another connection.
        """
        if self.ended is not None:
            done(self.ended)
        else:
            self._requests.put(Request(op, fields, done, repeat))

    def take_changes(self) -> Changes:
        """What has to be written, before what depends on it is sent."""
        return self._book.take_changes()

    @property
    def has_changes(self) -> bool:
        """Whether there is something to be written."""
        return self._book.has_changes

    def saved(self, changes: Changes) -> None:
        """They are written."""
        self.outbox.saved(changes.put)


def _number(frame: dict[str, Any], name: str) -> int:
    value = frame.get(name)
    if type(value) is not int:
        raise Broken(f"{name} is no number")
    return value


def _text(frame: dict[str, Any], name: str) -> str:
    value = frame.get(name)
    if not isinstance(value, str):
        raise Broken(f"{name} is no text")
    return value
