# SPDX-License-Identifier: Apache-2.0
"""A bot: its handlers, and the ways to run it.

    registry.py   the decorators
    desk.py       from an event to its handlers
    serving.py    with a server
    rehearsal.py  without one

How-to: docs/howto/write-a-bot.md.
"""

import asyncio
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from chatmotor.bot.desk import Manners
from chatmotor.bot.registry import Registry
from chatmotor.bot.rehearsal import Rehearsal
from chatmotor.bot.serving import Clock, Serving, WallClock
from chatmotor.bot.storage import Storage
from chatmotor.bot.token_file import TokenFile
from chatmotor.client import Client, ClientError


class Bot(Registry):
    """
    What an account does by itself.

    Args:
        prefix: What commands begin with.
        apology: Said in a direct conversation when a handler has raised; None: nothing.
        replies_per_minute: Unasked replies, those of message and event handlers, in
            one conversation; beyond them the bot is silent and logs it once.  It keeps
            two bots from talking to each other for ever.
        handler_seconds: A handler that takes longer has failed; what it waits for its
            replies does not count.  None: without end.

    Raises:
        ValueError: An empty prefix, or one with white space in it.
    """

    def __init__(
        self,
        prefix: str = "/",
        *,
        apology: str | None = "Sorry, that did not work.",
        replies_per_minute: int = 30,
        handler_seconds: float | None = 60.0,
    ) -> None:
        if prefix.split() != [prefix]:
            raise ValueError(f"no prefix: {prefix!r}")
        super().__init__()
        self._manners = Manners(
            prefix=prefix,
            apology=apology,
            replies_per_minute=replies_per_minute,
            handler_seconds=handler_seconds,
        )
        self._rehearsal: Rehearsal | None = None

    def run(
        self,
        url: str | Sequence[str],
        *,
        token_file: str | Path,
        state: str | Path | None = None,
    ) -> None:
        """
        Serve until SIGINT or SIGTERM, or until the server ends the session for good.

        Args:
            url: Of the server, or of several nodes of it.
            token_file: Holds the token; it is renewed there every few days, if the bot
                may write it.
            state: The file of the cursor and of what is not sent yet, and beside it,
                with ``.bot`` at the end of its name, that of the storage; None: the
                server's cursor, and a storage in memory.

        Raises:
            SystemExit: One sentence on why it does not go on.
        """
        try:
            asyncio.run(self._run(url, TokenFile(token_file), state))
        except (ClientError, TimeoutError) as error:
            raise SystemExit(str(error)) from None
        except OSError as error:
            raise SystemExit(f"{error.filename}: {error.strerror}") from None

    async def _run(
        self, url: str | Sequence[str], file: TokenFile, state: str | Path | None
    ) -> None:
        urls = [url] if isinstance(url, str) else url
        async with Client(
            urls, token=file.token, state=state, first="device"
        ) as client:
            stop = asyncio.Event()
            loop = asyncio.get_running_loop()
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, stop.set)
            fresh = asyncio.ensure_future(file.keep_fresh(urls))
            try:
                await self.serve(client, state=state, stop=stop)
            finally:
                fresh.cancel()

    async def serve(
        self,
        client: Client,
        *,
        state: str | Path | None = None,
        clock: Clock | None = None,
        stop: asyncio.Event | None = None,
        drain_seconds: float = 10.0,
    ) -> None:
        """
        Serve over *client*, which has been started.

        Args:
            state: As in ``run``: that of the client.
            clock: For timers; by default the machine's.
            stop: When it is set, the handler at work may finish; then this returns.
            drain_seconds: How long it may take for that.

        Raises:
            SessionEnded: The server will not have this bot any more.
            TimeoutError: The handler at work did not finish in time.  Leave the
                client's ``async with`` by this error, and its event comes again.
            Exception: What a task has raised.
        """
        path = None if state is None else Path(f"{state}.bot")
        with Storage(path) as storage:
            serving = Serving(
                self,
                self._manners,
                client=client,
                storage=storage,
                clock=clock or WallClock(),
                drain_seconds=drain_seconds,
            )
            await serving.run(stop or asyncio.Event())

    def rehearse(self, *, user: str = "helper") -> Rehearsal:
        """The bot in memory, as *user*, for tests that need no server."""
        return Rehearsal(self, self._manners, user=user)

    async def feed(
        self, user: str, body: Any, *, group: str | None = None
    ) -> list[Any]:
        """
        What the bot says when *user* writes *body*, in memory; what it remembers stays
        from one call to the next.  For a new memory, and time: ``rehearse``.
        """
        if self._rehearsal is None:
            self._rehearsal = self.rehearse()
        return await self._rehearsal.say(user, body, group=group)
