# SPDX-License-Identifier: Apache-2.0
"""A bot that lets a group vote.  Each member has one vote, and may change it.

python poll.py        needs bot.token: see docs/tutorials/first-bot.md
"""

from typing import Any

from chatmotor.bot import Bot, Context, WrongArguments
from chatmotor.client import ConvNew

bot = Bot()


@bot.event(ConvNew)
async def greet(context: Context) -> str:
    """Say what one is here for."""
    return 'I count votes: /poll "Lunch?" pizza salad'


@bot.command
async def poll(context: Context, question: str, *choices: str) -> str:
    """Begin a vote in place of the last one.

    question: in quotes, if it has several words
    choices: two to nine, the same
    """
    if context.is_direct:
        return "Nobody else would vote here. Add me to a group."
    if not 2 <= len(choices) <= 9:
        raise WrongArguments("There must be two to nine choices.")
    new = {"question": question, "choices": choices, "votes": {}}
    context.storage[f"poll/{context.conv}"] = new
    return _shown(new) + "\nVote with /vote and a number."


@bot.command
async def vote(context: Context, number: int) -> str | None:
    """Choose, or choose otherwise."""
    found = _poll(context)
    if not 1 <= number <= len(found["choices"]):
        raise WrongArguments(f"number: 1 to {len(found['choices'])}, please.")
    found["votes"][context.sender] = number
    context.storage[f"poll/{context.conv}"] = found
    return None  # a group is not told of each vote


@bot.command
async def results(context: Context) -> str:
    """Show how it stands."""
    return _shown(_poll(context))


@bot.command
async def close(context: Context) -> str:
    """Show the results, and take no more votes."""
    text = _shown(_poll(context))
    del context.storage[f"poll/{context.conv}"]
    return f"Closed. {text}"


def _poll(context: Context) -> dict[str, Any]:
    found: dict[str, Any] | None = context.storage.get(f"poll/{context.conv}")
    if found is None:
        raise WrongArguments("There is no vote here.")
    return found


def _shown(found: dict[str, Any]) -> str:
    votes = list(found["votes"].values())
    lines = [found["question"]]
    for number, choice in enumerate(found["choices"], 1):
        lines.append(f"{number}. {choice}: {votes.count(number)}")
    return "\n".join(lines)


if __name__ == "__main__":
    bot.run("http://127.0.0.1:8888", token_file="bot.token", state="bot.db")
