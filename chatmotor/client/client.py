# SPDX-License-Identifier: Apache-2.0
"""The client: one account's device, connected for as long as the program wants.

    async with Client(url, token=token, state="carol.db") as client:
        await client.conversation(to="bob").send("hello")
        async for event in client.events():
            ...

It connects, reconnects and catches up by itself; a program sends, and reads events.
"""

import asyncio
import contextlib
import logging
import unicodedata
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, overload

import msgspec

from chatmotor.client.conversation import Conversation, new_cid
from chatmotor.client.driver import Clock, Driver, Token
from chatmotor.client.errors import (
    Disconnected,
    Misused,
    NotUnderstood,
    Refused,
)
from chatmotor.client.inbox import First
from chatmotor.client.memory import Memory, Reset
from chatmotor.client.reader import EventReader
from chatmotor.client.requests import ONCE
from chatmotor.client.session import Session
from chatmotor.client.state_file import StateFile
from chatmotor.client.states import State
from chatmotor.client.transport import Connect, Connector, base_url
from chatmotor.protocol.answers import ANSWERS, ConversationItem, Sent
from chatmotor.protocol.commands import MAX_WATCHED, PresenceChoice
from chatmotor.protocol.event_types import AnyEvent
from chatmotor.protocol.replies import AnyEphemeral, Ephemeral, UserPresence

logger = logging.getLogger(__name__)

Durable = AnyEvent | Reset
Something = AnyEvent | AnyEphemeral | Reset
_Handler = TypeVar("_Handler", bound=Callable[..., Awaitable[None]])


class Client:
    """
    One device of an account.

    Args:
        url: Of the server, ``http(s)://host:port[/prefix]``; or several, of nodes over
            one store, which are tried in turn.
        token: From ``log_in``; or an async function that returns one, which is asked
            again when the last one has expired.
        state: A file that keeps places and unsent messages from one run to the next;
            none: they are kept in memory.
        window: How many events may wait for the program, of those that the server has
            pushed; and as many of those that were fetched.
        first: Where to begin without a place: with what is ``new``, or with what this
            ``device`` has not acknowledged.
        on_state: Called with each new state.
        connect, clock, random: For tests: how a socket is opened, what time it is, and
            what the jitter is made of.

    Raises:
        Misused: The URL is none.
        StateFileRefused: Another process has the file, or it is no such file.
    """

    def __init__(
        self,
        url: str | Sequence[str],
        *,
        token: Token,
        state: str | Path | None = None,
        window: int = 256,
        first: First = "new",
        on_state: Callable[[State], None] | None = None,
        connect: Connect | None = None,
        clock: Clock | None = None,
        random: Random | None = None,
    ) -> None:
        urls = [url] if isinstance(url, str) else list(url)
        if not urls:
            raise Misused("a client needs the URL of a server")
        if not 1 <= window <= 1024:
            raise Misused("a window has 1 to 1024 events")
        self.on_state = on_state
        self._urls = [base_url(each) for each in urls]
        self._token = token
        self._path = state
        self._window = window
        self._first: First = first
        self._connect = connect or Connector()
        self._clock = clock
        self._random = random
        self._started: Driver | None = None
        self._reader: EventReader[Any] | None = None
        self._handlers: dict[type, list[Callable[..., Awaitable[None]]]] = {}
        self._closing: asyncio.Task[None] | None = None
        self.counts: Counter[str] = Counter()

    # From the start to the end.

    async def start(self) -> None:
        """
        Begin to connect, in the background; a server that is away is tried again.

        Raises:
            StateFileRefused: Another process has the file, or it is no such file.
            Misused: The client was started before.
        """
        if self._started is not None:
            raise Misused("a client is started once")
        file = None if self._path is None else StateFile(self._path)
        session = Session(
            Memory() if file is None else file.read(),
            window=self._window,
            first=self._first,
            renewable=not isinstance(self._token, str),
            random=self._random,
            counts=self.counts,
        )
        self._started = Driver(
            session,
            self._urls,
            token=self._token,
            connect=self._connect,
            clock=self._clock,
            file=file,
            moved=self._moved,
        )
        self._started.start()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._close(handled=error is None)

    async def close(self) -> None:
        """
        Acknowledge, keep what is to be kept, close the connection.  Safe to repeat.

        The event that was taken last counts as handled.  What waits for an answer
        fails with ``SessionEnded``; messages in a state file are sent after the next
        start.
        """
        await self._close(handled=True)

    async def _close(self, *, handled: bool) -> None:
        if self._started is None:
            return
        if self._closing is None:
            if handled and self._reader is not None:
                self._reader.settle()
            self._closing = asyncio.ensure_future(self._started.close())
        await asyncio.shield(self._closing)

    def _moved(self, state: State) -> None:
        if self.on_state is not None:
            try:
                self.on_state(state)
            except Exception as error:  # noqa: BLE001  # the program's own
                self.counts["on_state failed"] += 1
                logger.error("on_state failed: %s", _where(error))  # noqa: TRY400

    @property
    def state(self) -> State:
        """Where the client is."""
        if self._started is None:
            return State.IDLE
        return self._started.session.state

    @property
    def user(self) -> str | None:
        """The account's username, once that is known."""
        return None if self._started is None else self._started.session.user

    @property
    def device(self) -> str | None:
        """The device's name, once that is known."""
        return None if self._started is None else self._started.session.device

    @property
    def _driver(self) -> Driver:
        if self._started is None:
            raise Misused("the client was not started: async with client, or start()")
        return self._started

    async def until_live(self) -> None:
        """
        Return once the client has caught up.

        That needs a reader, when there is more to catch up with than the window.

        Raises:
            SessionEnded: It never will.
        """
        session = self._driver.session
        await self._driver.until(
            lambda: session.state is State.LIVE or session.ended is not None
        )
        if session.state is not State.LIVE and session.ended is not None:
            raise session.end_error()

    async def drain(self, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """
        Return once every message is stored, or refused.

        Args:
            timeout: Seconds; none: for as long as it takes.

        Raises:
            TimeoutError: They are not.
            SessionEnded: They will not be.
        """
        driver = self._driver
        session = driver.session
        async with asyncio.timeout(timeout):
            await driver.until(
                lambda: (
                    session.ended is not None
                    or (not len(session.outbox) and driver.is_kept)
                )
            )
        if len(session.outbox) and session.ended is not None:
            raise session.end_error()

    # What comes.

    @overload
    def events(
        self, *, ephemeral: Literal[False] = False
    ) -> "EventReader[Durable]": ...

    @overload
    def events(self, *, ephemeral: bool) -> "EventReader[Something]": ...

    def events(self, *, ephemeral: bool = False) -> "EventReader[Any]":
        """
        The events of the mailbox and of all groups, each log in its order, each once.

        An event counts as handled when the next one is asked for, when the program
        leaves ``async with`` without an error, or calls ``close``; only then is its
        place kept and acknowledged.  So an event whose handling has failed comes again
        after a restart.  There is one reader at a time: a new one takes over.

        Iteration ends after ``close``.

        Args:
            ephemeral: Also what is of now and is not kept, as ``TypingNow``.

        Raises:
            SessionEnded: The session has ended; after the last event that there was.
        """
        if self._reader is not None:
            self._reader.retire()
        self._reader = EventReader(self._driver, ephemeral=ephemeral)
        return self._reader

    def on(self, *kinds: type[Any]) -> Callable[[_Handler], _Handler]:
        """
        Have ``run`` call the decorated async function with each event of these types.
        """

        def register(handler: _Handler) -> _Handler:
            for kind in kinds:
                self._handlers.setdefault(kind, []).append(handler)
            return handler

        return register

    async def run(self) -> None:
        """
        Read events and call their handlers, one after the other, until ``close``.

        A handler that fails is logged and counted, without what was said in the
        event, and the event counts as handled.

        Raises:
            SessionEnded: The session has ended.
        """
        ephemeral = any(issubclass(kind, Ephemeral) for kind in self._handlers)
        async for event in self.events(ephemeral=ephemeral):
            for handler in self._handlers.get(type(event), ()):
                try:
                    await handler(event)
                except Exception as error:  # noqa: BLE001  # the program's own
                    self.counts["handlers failed"] += 1
                    logger.error("a handler failed: %s", _where(error))  # noqa: TRY400

    # What goes.

    def conversation(
        self, conv: str | None = None, *, to: str | None = None
    ) -> Conversation:
        """
        A conversation, by its id, or with the account *to*.  Asks nobody.

        Raises:
            Misused: Neither of the two, or both.
        """
        if (conv is None) == (to is None):
            raise Misused("a conversation has either an id or a username")
        return Conversation(self, conv=conv, to=to)

    async def create_group(
        self, title: str, members: Iterable[str], *, cid: str | None = None
    ) -> Conversation:
        """
        Make a group, of which one is the owner.

        Args:
            members: Usernames beside one's own.
            cid: Its name, for a program that may ask twice.

        Raises:
            Refused: ``no_such_user``, ``quota_exceeded``, ``cid_conflict``.
            SessionEnded: The session has ended.
        """
        made = await self.call(
            "conv.create", title=title, members=list(members), cid=cid or new_cid()
        )
        return self.conversation(made.conv.conv)

    async def sync(self) -> list[ConversationItem]:
        """
        The account's conversations, with their last messages.

        Raises:
            SessionEnded: The session has ended.
        """
        found: list[ConversationItem] = []
        cursor: dict[str, str] = {}
        while True:
            page = await self.call("sync", **cursor)
            found += page.convs
            if page.cursor is None:
                return found
            cursor = {"cursor": page.cursor}

    async def call(self, op: str, /, **fields: Any) -> Any:
        """
        Any command; its answer, typed as in ``chatmotor.protocol.answers``.

        It waits for a connection, and is repeated on another one if need be, but for
        ``auth``, ``device.revoke``, ``presence``, ``signal`` and ``typing``.

        Raises:
            Refused: The server will not do it, or not now: see ``retry``.
            Disconnected: It is one of those, and there was no connection to the end.
            SessionEnded: The session has ended.
            ClientError: The answer is not understood.
        """
        repeat = op not in ONCE
        driver = self._driver
        session = driver.session
        if not (repeat or session.ended or session.is_welcome):
            raise Disconnected(f"{op}: there is no connection")
        answer = await driver.answer(
            lambda done: session.ask(op, fields, done, repeat=repeat)
        )
        try:
            return msgspec.convert(answer, ANSWERS.get(op, dict[str, Any]))
        except msgspec.ValidationError as error:
            raise NotUnderstood(f"the answer to {op}: {error}") from None

    async def presence(self, state: PresenceChoice, text: str = "") -> None:
        """
        How this session stands; said again on every new connection.

        Raises:
            Refused: The text is too long.
            SessionEnded: The session has ended.
        """
        self._driver.session.standing.presence = {"state": state, "text": text}
        with contextlib.suppress(Disconnected):
            await self.call("presence", state=state, text=text)

    async def watch(self, users: Iterable[str]) -> list[UserPresence]:
        """
        Be told how these accounts stand, by ``PresenceNow``; how they stand now.

        It is asked again on every new connection.

        Raises:
            Refused, SessionEnded: As ``call``.
        """
        names = list(users)
        standing = self._driver.session.standing
        standing.watch(names)
        found: list[UserPresence] = []
        try:
            for some in _chunks(names):
                found += (await self.call("watch", users=some)).snapshot
        except Refused:
            standing.unwatch(names)
            raise
        return found

    async def unwatch(self, users: Iterable[str]) -> None:
        """
        Not of these any more.

        Raises:
            Refused, SessionEnded: As ``call``.
        """
        names = list(users)
        self._driver.session.standing.unwatch(names)
        for some in _chunks(names):
            await self.call("unwatch", users=some)

    async def signal(self, to: str, body: Any) -> None:
        """
        Something of now for the devices of *to* that are online; it is not kept.

        Raises:
            Refused, Disconnected, SessionEnded: As ``call``.
        """
        await self.call("signal", to=to, body=body)

    # What conversations ask for.

    async def _send(self, cid: str, content: bytes) -> Sent:
        driver = self._driver
        answer = await driver.answer(
            lambda done: driver.session.put(cid, content, done)
        )
        try:
            return msgspec.convert(answer, Sent)
        except msgspec.ValidationError as error:
            raise NotUnderstood(f"the answer to send: {error}") from None

    def _post(self, cid: str, content: bytes) -> None:
        self._driver.session.put(cid, content, None)
        self._driver.wake()

    async def _direct(self, to: str) -> str:
        """The id of the direct conversation with *to*."""
        outbox = self._driver.session.outbox
        conv = outbox.conv_of(to)
        if conv is None:
            name = unicodedata.normalize("NFKC", to).casefold()
            for each in await self.sync():
                if each.type == "direct" and each.user is not None:
                    outbox.learn(each.user, each.conv)
                    if each.user == name:
                        outbox.learn(to, each.conv)
            conv = outbox.conv_of(to)
        if conv is None:
            raise Refused("no_such_conv", "nobody has written in it yet")
        return conv


def _chunks(names: list[str]) -> Iterator[list[str]]:
    return (
        names[begin : begin + MAX_WATCHED]
        for begin in range(0, len(names), MAX_WATCHED)
    )


def _where(error: BaseException) -> str:
    """The type and the place of a program's own error: its text may have a chat's."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return type(error).__name__
    code = trace.tb_frame.f_code
    return f"{type(error).__name__} in {code.co_qualname}, line {trace.tb_lineno}"
