# SPDX-License-Identifier: Apache-2.0
"""A bot at work on a test server, and people who talk to it.

    async with TestServer() as server, running(bot, server) as kit:
        alice = await kit.user("alice")
        assert "In 10 minutes, then." == await alice.ask("/remind 10 tea")
        kit.clock.advance(600)
        assert "alice: tea" == await alice.hear()

The bot has the clock of the kit, so its timers ring when the test says so; the server
and the wire have the real one.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

from chatmotor.bot import Bot
from chatmotor.client import Client, MessageNew, Sent
from chatmotor.testing.clock import Clock
from chatmotor.testing.server import TestServer

DEADLINE_SECONDS: Final = 20.0


class Person:
    """
    Somebody who talks to the bot.

    Attributes:
        client: Their client; its events are read here.
        user: Their username.
    """

    def __init__(
        self, client: Client, user: str, *, bot: str, serving: "asyncio.Future[None]"
    ) -> None:
        self.client = client
        self.user = user
        self._bot = bot
        self._serving = serving
        self._heard: list[MessageNew] = []
        self._more = asyncio.Condition()

    async def say(self, body: Any, *, conv: str | None = None) -> Sent:
        """Write to the bot, or into the conversation *conv*."""
        talk = self.client.conversation(conv, to=None if conv else self._bot)
        return await talk.send(body)

    async def hear(self, *, conv: str | None = None, after: int = 0) -> Any:
        """
        The body of the bot's next message that was not heard yet.

        Args:
            conv: In this conversation; None: in any.
            after: With a greater ``n``.

        Raises:
            TimeoutError: There is none within 20 s.
            Exception: What has ended the bot.
        """
        hearing = asyncio.ensure_future(self._next(conv, after))
        either: set[asyncio.Future[Any]] = {hearing, self._serving}
        await asyncio.wait(
            either,
            timeout=DEADLINE_SECONDS,
            return_when=asyncio.FIRST_COMPLETED,
        )
        if hearing.done():
            return hearing.result().body
        hearing.cancel()
        if self._serving.done():
            self._serving.result()
        raise TimeoutError(f"{self._bot} says nothing")

    async def _next(self, conv: str | None, after: int) -> MessageNew:
        def found() -> list[MessageNew]:
            return [
                each
                for each in self._heard
                if conv in (None, each.conv) and each.n > after
            ]

        async with self._more:
            await self._more.wait_for(found)
        message = found()[0]
        self._heard.remove(message)
        return message

    async def ask(self, body: Any, *, conv: str | None = None) -> Any:
        """Write, and hear what the bot says there after it."""
        sent = await self.say(body, conv=conv)
        return await self.hear(conv=sent.conv, after=sent.n)

    async def listen(self) -> None:
        """Keep what the bot says, for ``hear``; for ever."""
        async for event in self.client.events():
            if isinstance(event, MessageNew) and event.sender == self._bot:
                async with self._more:
                    self._heard.append(event)
                    self._more.notify_all()


class BotKit:
    """
    What ``running`` gives.

    Attributes:
        clock: The bot's; ``advance(seconds)`` lets its timers ring.
        client: The bot's.
    """

    def __init__(
        self,
        server: TestServer,
        client: Client,
        user: str,
        *,
        clock: Clock,
        serving: "asyncio.Future[None]",
    ) -> None:
        self.server = server
        self.client = client
        self.clock = clock
        self._user = user
        self._serving = serving
        self._listening: list[asyncio.Future[None]] = []

    async def user(self, username: str) -> Person:
        """Somebody who is connected, with an account if need be."""
        client = await self.server.user(username)
        person = Person(client, username, bot=self._user, serving=self._serving)
        self._listening.append(asyncio.ensure_future(person.listen()))
        return person

    async def group(self, title: str, *people: Person) -> str:
        """The id of a new group of *people* and the bot; the first one makes it."""
        first, *others = people
        members = [self._user, *(each.user for each in others)]
        return await (await first.client.create_group(title, members)).id()

    def cut(self) -> None:
        """See ``TestServer.cut``: the bot is offline, and so is everybody."""
        self.server.cut()

    def mend(self) -> None:
        """See ``TestServer.mend``."""
        self.server.mend()

    async def end(self) -> None:
        """Nobody listens any more."""
        for task in self._listening:
            task.cancel()
        await asyncio.gather(*self._listening, return_exceptions=True)


@contextlib.asynccontextmanager
async def running(
    bot: Bot,
    server: TestServer,
    *,
    user: str = "helper",
    state: str | Path | None = None,
    clock: Clock | None = None,
) -> AsyncIterator[BotKit]:
    """
    *bot* at work on *server*, as the account *user*, which is made if need be.

    Args:
        state: As in ``Bot.run``; the same again is the same bot, started again.

    Raises:
        Exception: What has ended the bot, at the end of the block.
    """
    clock = clock or Clock()
    async with contextlib.AsyncExitStack() as stack:
        client = await server.user(user, state=state, first="device")
        # It has been entered; it closes by the way in which this block is left.
        stack.push_async_exit(client)
        stop = asyncio.Event()
        serving = asyncio.ensure_future(
            bot.serve(client, state=state, clock=clock, stop=stop)
        )
        kit = BotKit(server, client, user, clock=clock, serving=serving)
        try:
            yield kit
        finally:
            await kit.end()
            stop.set()
            await serving
