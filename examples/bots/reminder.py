# SPDX-License-Identifier: Apache-2.0
"""A bot that says things again later, also when it was restarted in between.

python reminder.py        needs bot.token: see docs/tutorials/first-bot.md
"""

from datetime import timedelta

from chatmotor.bot import Bot, Context, WrongArguments

LONGEST = timedelta(days=366)

bot = Bot()


@bot.timer
async def due(context: Context, number: int, what: str) -> str | None:
    """What was to be said, unless it was forgotten meanwhile."""
    reminders = _reminders(context)
    if reminders.pop(str(number), None) is None:
        return None
    context.storage[_key(context)] = reminders
    return what


@bot.command(aliases=["r"])
async def remind(context: Context, after: timedelta, *words: str) -> str:
    """
    Say something again later.

    Args:
        after: how long to wait, such as 10m, 2h or 1d12h
        words: what to say
    """
    if not words:
        raise WrongArguments("words is missing.")
    if after > LONGEST:
        raise WrongArguments("That is too far away.")
    number = context.storage.get("count", 0) + 1
    what = f"{context.sender}: {' '.join(words)}"
    context.storage["count"] = number
    context.storage[_key(context)] = _reminders(context) | {str(number): what}
    context.later(after, due, number, what)
    return f"In {after}. To call it off: /forget {number}"


@bot.command
async def reminders(context: Context) -> str:
    """List what is to be said here."""
    lines = [f"{number}. {what}" for number, what in _reminders(context).items()]
    return "\n".join(lines) or "Nothing."


@bot.command
async def forget(context: Context, number: int) -> str:
    """Do not say it."""
    left = _reminders(context)
    if left.pop(str(number), None) is None:
        return "There is no such reminder here."
    context.storage[_key(context)] = left
    return "Forgotten."


def _key(context: Context) -> str:
    return f"reminders/{context.conv}"


def _reminders(context: Context) -> dict[str, str]:
    found: dict[str, str] = context.storage.get(_key(context), {})
    return found


if __name__ == "__main__":
    bot.run("http://127.0.0.1:8888", token_file="bot.token", state="bot.db")
