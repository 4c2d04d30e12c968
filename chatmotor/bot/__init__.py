# SPDX-License-Identifier: Apache-2.0
"""Bots: commands with typed arguments, replies that are never doubled, timers.

    from chatmotor.bot import Bot, Context

    bot = Bot()

    @bot.command
    async def echo(context: Context, *words: str) -> str:
        \"\"\"Say it back.\"\"\"
        return " ".join(words)

    bot.run("http://127.0.0.1:8888", token_file="bot.token", state="bot.db")

Tutorial: docs/tutorials/first-bot.md.  How-to: docs/howto/write-a-bot.md.
"""

from chatmotor.bot.arguments import WrongArguments
from chatmotor.bot.bot import Bot
from chatmotor.bot.context import Context
from chatmotor.bot.rehearsal import Rehearsal

__all__ = ["Bot", "Context", "Rehearsal", "WrongArguments"]
