# SPDX-License-Identifier: Apache-2.0
"""What a handler gets: the event, ways to answer, and what the bot remembers.

What is sent from here has a cid that follows from the event, the handler and how
manieth it is: the same event handled again, after a crash, sends nothing twice.  A
repeated reply of other content is not sent either; the first one stands.
"""

import hashlib
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Protocol

from chatmotor.bot.patience import Patience
from chatmotor.bot.storage import Timer, encode
from chatmotor.client import Client, MessageNew, Refused, Sent

TimerFunction = Callable[..., Awaitable[Any]]


class Talk(Protocol):
    """A conversation, as far as a handler's replies need it."""

    async def send(
        self,
        body: Any = ...,
        *,
        reply_to: int | None = None,
        cid: str | None = None,
    ) -> Sent:
        """See ``chatmotor.client.Conversation.send``."""


class Speaker(Protocol):
    """A client, as far as a handler's replies need it."""

    @property
    def user(self) -> str | None:
        """The bot's own username, once that is known."""

    def conversation(self, conv: str | None = None, *, to: str | None = None) -> Talk:
        """See ``chatmotor.client.Client.conversation``."""


@dataclass(frozen=True, slots=True)
class Cause:
    """
    Why a handler runs.

    Args:
        origin: The one name of this run, the same when it is run again; None: it is
            never run again, and its cids are random.
        event: What has happened, if it was that.
        conv: Where replies go.
        unasked_ts: When it happened, in ms, if nobody has called the bot; see brake.py.
    """

    origin: str | None
    event: Any = None
    conv: str | None = None
    unasked_ts: int | None = None


@dataclass(kw_only=True)
class Context:
    """
    One run of one handler.

    Attributes:
        event: The event; None for timers and tasks.
        conv: The conversation's id; None where there is none.
        storage: The bot's values.  What a handler writes is kept once it has returned,
            in one piece; nothing is kept of one that raises.
    """

    cause: Cause
    speaker: Speaker
    storage: MutableMapping[str, Any]
    patience: Patience
    now: Callable[[], float]
    timer_names: dict[TimerFunction, str]
    keep: Callable[[Timer], None]
    may_reply: Callable[["Context", Any], bool] = lambda _context, _body: True
    _count: int = field(default=0, init=False)

    @property
    def event(self) -> Any:
        """The event; None for timers and tasks."""
        return self.cause.event

    @property
    def conv(self) -> str | None:
        """The conversation's id; None where there is none."""
        return self.cause.conv

    @property
    def user(self) -> str:
        """The bot's own username; empty before the first connection."""
        return self.speaker.user or ""

    @property
    def sender(self) -> str:
        """Who wrote the message; empty where there is none."""
        return self.event.sender if isinstance(self.event, MessageNew) else ""

    @property
    def text(self) -> str:
        """The message's text; empty where there is none."""
        found = self.event.text if isinstance(self.event, MessageNew) else None
        return found or ""

    @property
    def is_direct(self) -> bool:
        """Whether it is a message to the bot alone, and not in a group."""
        return isinstance(self.event, MessageNew) and isinstance(self.event.seq, int)

    @property
    def client(self) -> Client:
        """
        The client, for all that is not here.  What is sent through it is sent again
        when the event is handled again, unless it has a ``cid`` of yours.

        Raises:
            RuntimeError: There is no server, in ``Bot.feed``.
        """
        if not isinstance(self.speaker, Client):
            raise RuntimeError("there is no server in a rehearsal, and no client")
        return self.speaker

    async def reply(self, body: Any, *, quote: bool = False) -> Sent | None:
        """
        Say *body*, a text or any JSON, in the conversation of the event.

        Args:
            quote: Mark it as an answer to the message.

        Returns:
            Where it is stored; None: another reply to this event stands already, or
            the bot has said too much unasked (``replies_per_minute``).

        Raises:
            Refused: The server does not take it: too long, not a member any more.
            RuntimeError: The event belongs to no conversation.
        """
        if self.conv is None:
            raise RuntimeError("there is no conversation here to reply in; use send")
        cid = self.next_cid()
        if not self.may_reply(self, body):
            return None
        reply_to = self.event.n if quote and self.sender else None
        talk = self.speaker.conversation(self.conv)
        return await self.send_to(talk, body, cid=cid, reply_to=reply_to)

    async def send(
        self,
        body: Any,
        *,
        conv: str | None = None,
        to: str | None = None,
        cid: str | None = None,
    ) -> Sent | None:
        """
        Say *body* elsewhere: in the conversation *conv*, or to the account *to*.

        Args:
            cid: The name of this message, if what asks for it may ask twice.

        Returns, Raises: See ``reply``.
        """
        talk = self.speaker.conversation(conv, to=to)
        return await self.send_to(talk, body, cid=cid or self.next_cid())

    async def send_to(
        self, talk: Talk, body: Any, *, cid: str | None, reply_to: int | None = None
    ) -> Sent | None:
        """See ``send``."""
        with self.patience.waiting():
            try:
                return await talk.send(body, cid=cid, reply_to=reply_to)
            except Refused as refused:
                if refused.code == "cid_conflict":
                    return None
                raise

    def later(
        self, delay: timedelta | float, timer: TimerFunction, *arguments: Any
    ) -> None:
        """
        Call *timer*, a function that is registered with ``bot.timer``, after *delay*.

        It survives restarts, and is called late if the bot is down when it is due.  It
        gets a context of this conversation, and *arguments*, as JSON keeps them.

        Raises:
            LookupError: The function is not registered.
            TypeError: JSON cannot hold the arguments.
        """
        name = self.timer_names.get(timer)
        if name is None:
            raise LookupError(f"{timer} is not registered with bot.timer")
        if isinstance(delay, timedelta):
            delay = delay.total_seconds()
        origin = f"{self.cause.origin or uuid.uuid4()}/{self._next()}"
        self.keep(
            Timer(
                origin,
                self.now() + delay,
                name,
                self.conv,
                encode(arguments),
                self.cause.unasked_ts,
            )
        )

    def next_cid(self) -> str | None:
        """The cid of what is sent next; None: any."""
        number = self._next()
        return self.cid(str(number))

    def cid(self, what: str) -> str | None:
        """The cid of *what*, a word for one message of this run."""
        if self.cause.origin is None:
            return None
        return cid_of(self.cause.origin, what)

    def _next(self) -> int:
        self._count += 1
        return self._count


def cid_of(origin: str, what: str) -> str:
    """Always the same for the same; of at most 64 characters."""
    digest = hashlib.sha256(f"{origin}/{what}".encode()).hexdigest()
    return f"bot.{digest[:40]}"
