# SPDX-License-Identifier: Apache-2.0
"""A bot in a process of its own, which kills itself at a place, as kill -9 would.

    python -m tests.harness.crashing_bot URL TOKEN_FILE STATE [PLACE]

PLACE is ``replied``: the reply is stored, nothing else is; ``settled``: the values are
written as well, and the client's place is not.
"""

import os
import signal
import sys
from typing import Any

from chatmotor.bot import Bot, Context
from chatmotor.bot.storage import Storage

bot = Bot()


@bot.command
async def count(context: Context) -> None:
    """Say how many calls there were, twice."""
    number = context.storage.get("count", 0) + 1
    context.storage["count"] = number
    await context.reply(f"call {number}")
    await context.reply(f"it was {number}")


def crash_at(place: str) -> None:
    """Die there, the first time."""
    settle = Storage.settle

    def dying(*arguments: Any, **named: Any) -> None:
        if place == "settled":
            settle(*arguments, **named)
        os.kill(os.getpid(), signal.SIGKILL)

    Storage.settle = dying  # type: ignore[method-assign]


if __name__ == "__main__":
    url, token_file, state, *places = sys.argv[1:]
    for each in places:
        crash_at(each)
    bot.run(url, token_file=token_file, state=state)
