# SPDX-License-Identifier: Apache-2.0
"""From an event to the handlers that it concerns, and what becomes of them.

    event --> handled already? --> handlers, one after another --> settle
                                        |  returns a body: the reply
                                        `  raises: logged, counted, an apology

An event counts as handled when its handlers have returned, or raised; it is not tried
again.  Handlers run one at a time, over all conversations, so what one reads from the
storage is not changed under its hands.
"""

import asyncio
import collections
import logging
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec

from chatmotor.bot.arguments import WrongArguments
from chatmotor.bot.brake import Brake
from chatmotor.bot.commands import Call, Command, call_in, nearest, overview
from chatmotor.bot.context import Cause, Context, Speaker
from chatmotor.bot.patience import Patience
from chatmotor.bot.registry import Registry
from chatmotor.bot.storage import Draft, Storage, Timer
from chatmotor.client import ClientError, MessageNew, SessionEnded

_LOG: Final = logging.getLogger(__name__)
_MAILBOX: Final = "mailbox"

Work = Callable[[Context], Any]


@dataclass(frozen=True, slots=True)
class Manners:
    """
    How a bot behaves; see ``Bot`` for what each means.
    """

    prefix: str = "/"
    apology: str | None = "Sorry, that did not work."
    replies_per_minute: int = 30
    handler_seconds: float | None = 60.0


@dataclass(frozen=True, slots=True)
class Job:
    """A handler to run: its name in logs and cids, and why."""

    name: str
    work: Work
    cause: Cause
    command: Command | None = None


class Desk:
    """
    One bot at work on one account.

    Args:
        speaker: Where replies go.
        now: The time, in seconds since the Unix epoch.
        on_timer: Called when there is a new timer.
        raises: Let what handlers raise out, for tests.

    Attributes:
        counts: ``handled`` and ``failed`` runs of handlers, replies not made
            (``silenced``).
    """

    def __init__(
        self,
        registry: Registry,
        manners: Manners,
        *,
        speaker: Speaker,
        storage: Storage,
        now: Callable[[], float],
        on_timer: Callable[[], None] = lambda: None,
        raises: bool = False,
    ) -> None:
        self._registry = registry
        self._manners = manners
        self._speaker = speaker
        self._storage = storage
        self._now = now
        self._on_timer = on_timer
        self._raises = raises
        self._brake = Brake(manners.replies_per_minute)
        self._alone = asyncio.Lock()
        self._timer_names = {
            each.function: name for name, each in registry.timers.items()
        }
        self.counts: collections.Counter[str] = collections.Counter()

    async def handle(self, event: Any) -> None:
        """
        Run the handlers of *event*, if it was not handled before.

        Raises:
            SessionEnded: While a handler was sending; the event is not handled.
        """
        log, place = _place(event)
        if log is None:
            await self._run(_told_apart(self._jobs(event), None))
            return
        if place <= self._storage.handled(log):
            return
        jobs = _told_apart(self._jobs(event), f"{log}/{place}")
        if jobs:
            await self._run(jobs, log=log, place=place)

    async def _run(self, jobs: list[Job], **settled: Any) -> None:
        async with self._alone:
            drafts = [await self._do(job) for job in jobs]
            self._settle(drafts, **settled)

    def _settle(self, drafts: list[Draft], **settled: Any) -> None:
        self._storage.settle(drafts, **settled)
        if any(draft.timers for draft in drafts):
            self._on_timer()

    def is_alone(self, timer: Timer) -> bool:
        """Whether *timer* is to ring by itself."""
        found = self._registry.timers.get(timer.timer)
        return found is None or found.alone

    async def ring(self, timer: Timer) -> None:
        """Call the function of *timer*, and strike it off."""
        found = self._registry.timers.get(timer.timer)
        if found is None:
            # The bot has changed since it was set; nobody will ever want it.
            _LOG.warning("a timer for %s, which there is not any more", timer.timer)
            self._storage.settle([], done=timer.origin)
            return
        arguments = msgspec.json.decode(timer.arguments)

        async def work(context: Context) -> Any:
            return await found.function(context, *arguments)

        job = Job(timer.timer, work, _cause_of(timer))
        if found.alone:
            await self._run([job], done=timer.origin)
        else:
            self._settle([await self._do(job)], done=timer.origin)

    def outside(self) -> Context:
        """A context of no event, whose writes are kept at once."""

        def keep(timer: Timer) -> None:
            self._settle([Draft(self._storage, timers=[timer])])

        return Context(
            cause=Cause(None),
            speaker=self._speaker,
            storage=self._storage,
            patience=Patience(None),
            now=self._now,
            timer_names=self._timer_names,
            keep=keep,
        )

    def _jobs(self, event: Any) -> Iterator[Job]:
        for handler in self._registry.events:
            if isinstance(event, handler.kind):
                name = handler.function.__name__
                yield self._job(name, handler.function, event, asked=False)
        if (
            isinstance(event, MessageNew)
            and event.sender != self._speaker.user
            # Nobody can answer a guest.
            and not event.from_guest
        ):
            call = call_in(event.text or "", self._manners.prefix)
            if call is not None:
                yield from self._called(call, event)
                return
            for each in self._registry.messages:
                name = each.function.__name__
                yield self._job(
                    name,
                    _if_wanted(each.wants, each.function),
                    event,
                    asked=False,
                )

    def _called(self, call: Call, event: MessageNew) -> Iterator[Job]:
        if call.at not in (None, self._speaker.user):
            return
        command = self._registry.commands.get(call.name)
        if command is not None:

            async def work(context: Context) -> Any:
                return await command.function(context, *command.read(call.rest))

            yield self._job(command.name, work, event, command=command)
        elif call.name == "help":
            yield self._job("help", self._help(call.rest), event)
        elif call.at is not None or isinstance(event.seq, int):
            # Asked of the bot alone; in a group it may be another one's command.
            yield self._job("help", self._hint(call.name), event, asked=False)

    def _job(
        self,
        name: str,
        work: Work,
        event: Any,
        *,
        asked: bool = True,
        command: Command | None = None,
    ) -> Job:
        conv = getattr(event, "conv", None)
        return Job(
            name,
            work,
            Cause(None, event, conv, None if asked else getattr(event, "ts", 0)),
            command,
        )

    def _help(self, about: str) -> Work:
        prefix = self._manners.prefix

        async def work(context: Context) -> str:
            name = about.strip().removeprefix(prefix).lower()
            if not name:
                return overview(self._registry.own_commands(), prefix)
            command = self._registry.commands.get(name)
            return command.help(prefix) if command else self._unknown(name)

        return work

    def _hint(self, name: str) -> Work:
        async def work(context: Context) -> str:
            return self._unknown(name)

        return work

    def _unknown(self, name: str) -> str:
        prefix = self._manners.prefix
        near = nearest(name[:32], [*self._registry.commands, "help"])
        if near is None:
            return f"There is no such command; {prefix}help lists them."
        return f"There is no such command; did you mean {prefix}{near}?"

    async def _do(self, job: Job) -> Draft:
        """Run *job*; what it wants to have kept."""
        draft = Draft(self._storage)
        context = self._context(job, draft)
        try:
            async with context.patience:
                body = await job.work(context)
                if body is not None:
                    await context.reply(body)
        except SessionEnded:
            raise
        except WrongArguments as wrong:
            draft = Draft(self._storage)
            await self._say(context, job, _wrong(wrong, job.command, self._manners))
        except Exception as error:
            self.counts["failed"] += 1
            if self._raises:
                raise
            _LOG.error("%s failed: %s", job.name, _places(error))
            draft = Draft(self._storage)
            if self._manners.apology is not None and context.is_direct:
                await self._say(context, job, self._manners.apology)
        else:
            self.counts["handled"] += 1
        return draft

    async def _say(self, context: Context, job: Job, text: str) -> None:
        """Say what the bot itself has to say about a run; do not insist."""
        if context.conv is None or not self._may_reply(context, text):
            return
        talk = self._speaker.conversation(context.conv)
        try:
            await context.send_to(talk, text, cid=context.cid("trouble"))
        except SessionEnded:
            raise
        except ClientError as error:
            _LOG.warning("%s: the reply was not taken: %s", job.name, error)

    def _context(self, job: Job, draft: Draft) -> Context:
        return Context(
            cause=job.cause,
            speaker=self._speaker,
            storage=draft,
            patience=Patience(self._manners.handler_seconds),
            now=self._now,
            timer_names=self._timer_names,
            keep=draft.timers.append,
            may_reply=self._may_reply,
        )

    def _may_reply(self, context: Context, body: Any) -> bool:
        ts = context.cause.unasked_ts
        if ts is None and isinstance(body, str) and call_in(body, self._manners.prefix):
            # A bot may answer it, which was asked then.
            ts = int(self._now() * 1000)
        if ts is None or context.conv is None:
            return True
        if self._brake.allows(context.conv, ts=ts):
            return True
        self.counts["silenced"] += 1
        if self._brake.is_news(context.conv):
            _LOG.warning(
                "silent in %s: %d unasked replies in a minute",
                context.conv,
                self._manners.replies_per_minute,
            )
        return False


def _place(event: Any) -> tuple[str | None, int]:
    """The log of *event* and its place there; None: it is of no log."""
    if isinstance(getattr(event, "seq", None), int):
        return _MAILBOX, event.seq
    if isinstance(getattr(event, "pos", None), int):
        return event.conv, event.pos
    return None, 0


def _told_apart(jobs: Iterable[Job], address: str | None) -> list[Job]:
    """*jobs* of the event with this address, each with an origin of its own."""
    if address is None:
        return list(jobs)
    seen: collections.Counter[str] = collections.Counter()
    named = []
    for job in jobs:
        seen[job.name] += 1
        origin = f"{address}/{job.name}/{seen[job.name]}"
        named.append(replace(job, cause=replace(job.cause, origin=origin)))
    return named


def _cause_of(timer: Timer) -> Cause:
    return Cause(timer.origin, conv=timer.conv, unasked_ts=timer.unasked_ts)


def _if_wanted(wants: Callable[[Context], bool], function: Work) -> Work:
    async def work(context: Context) -> Any:
        return await function(context) if wants(context) else None

    return work


def _wrong(wrong: WrongArguments, command: Command | None, manners: Manners) -> str:
    if command is None:
        return str(wrong)
    return f"{wrong}\nUsage: {command.usage(manners.prefix)}"


def _places(error: BaseException) -> str:
    """The type of *error* and where it was raised; its text may be a message's."""
    frames = traceback.extract_tb(error.__traceback__)
    places = [f"{each.filename}:{each.lineno} in {each.name}" for each in frames]
    return " < ".join([type(error).__name__, *reversed(places)])
