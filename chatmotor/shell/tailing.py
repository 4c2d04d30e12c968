# SPDX-License-Identifier: Apache-2.0
"""``chatmotor tail``: events as lines, for as long as it takes.

    --since: the store --history, events--> lines, up to now
    then:    the client's events          --> lines

A line is written and flushed before its event counts as handled: with a state file,
what was not written comes again the next time.
"""

import asyncio
import logging
import os
import signal
import stat
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from chatmotor.client import (
    Client,
    ClientError,
    MessageNew,
    Refused,
    Reset,
    SessionEnded,
    State,
    UnknownEvent,
)
from chatmotor.protocol.event_types import decode_event
from chatmotor.shell.exits import (
    BAD_DATA,
    NOT_ALLOWED,
    TRY_AGAIN,
    USAGE,
    status_of,
)
from chatmotor.shell.logins import LogIn, chosen_login

PAGE: Final = 100
_NOT_ALLOWED_CODES: Final = frozenset({401, 403, 4010, 4502, 4504})
_STATE_FILE_FAILED: Final = 1011


@dataclass(frozen=True, slots=True)
class Tail:
    """What was asked for; see the options of the command."""

    log_in: LogIn
    conv: str | None
    since: int | None
    count: int | None
    state: Path | None
    as_json: bool


def run_tail(tail: Tail) -> int:
    """Print until the end; the exit status."""
    # _Herald says the same to people, and once.
    logging.getLogger("chatmotor.client").setLevel(logging.ERROR)
    try:
        return asyncio.run(_until_signal(tail))
    except BrokenPipeError:
        # Whoever read has seen enough.  Nothing is left for the end of the process to
        # flush into the pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except SessionEnded as ended:
        click.echo(f"chatmotor: {ended.reason or ended}", err=True)
        if ended.code == _STATE_FILE_FAILED:
            return TRY_AGAIN
        return NOT_ALLOWED if ended.code in _NOT_ALLOWED_CODES else BAD_DATA
    except Refused as refused:
        click.echo(f"chatmotor: {refused.msg} ({refused.code})", err=True)
        return status_of(refused.code, retry=refused.retry)
    except ClientError as wrong:
        click.echo(f"chatmotor: {wrong}", err=True)
        return USAGE


async def _until_signal(tail: Tail) -> int:
    """0 in the end, or when nobody reads; 128 and its number after a signal."""
    loop = asyncio.get_running_loop()
    printing = loop.create_task(_print(tail))
    verdicts: list[int] = []

    def stop(verdict: int) -> None:
        verdicts.append(verdict)
        printing.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop, 128 + number)
    out = sys.stdout.fileno()
    if stat.S_ISFIFO(os.fstat(out).st_mode):
        # The end of a pipe that is written to becomes readable when the other closes:
        # head -n 1 need not wait for another event.
        loop.add_reader(out, stop, 0)
    await asyncio.wait({printing})
    loop.remove_reader(out)
    if printing.cancelled():
        return verdicts[0]
    printing.result()
    return 0


async def _print(tail: Tail) -> None:
    left = tail.count
    client = Client(
        tail.log_in.url,
        token=_Token(tail.log_in),
        state=tail.state,
        on_state=_Herald().tell,
    )
    async with client, aclosing(_wanted(client, tail)) as events:
        async for event in events:
            _write(_json_line(event) if tail.as_json else _line(event))
            left = None if left is None else left - 1
            if left == 0:
                return


class _Token:
    """
    The token; and when it has expired, the one that another command has had made
    meanwhile, or that is in CM_TOKEN_FILE by now.
    """

    def __init__(self, log_in: LogIn) -> None:
        self._next: str | None = log_in.token
        self._last = log_in

    async def __call__(self) -> str:
        """As ``Client`` asks for it."""
        given, self._next = self._next, None
        if given is not None:
            return given
        fresh = chosen_login(os.environ, self._last.url)
        if fresh.token == self._last.token:
            raise Refused("token_expired", "the token has expired; log in again")
        self._last = fresh
        return fresh.token


class _Herald:
    """Says once that the server is away, and once that it is back."""

    def __init__(self) -> None:
        self._is_away = False

    def tell(self, state: State) -> None:
        """The client has come to *state*."""
        if state is State.OFFLINE and not self._is_away:
            self._is_away = True
            click.echo("chatmotor: the server is away; trying again", err=True)
        elif state is State.LIVE and self._is_away:
            self._is_away = False
            click.echo("chatmotor: the server is back", err=True)


async def _wanted(client: Client, tail: Tail) -> AsyncGenerator[Any, None]:
    """First what was stored, where it is asked for; then what comes."""
    top = 0
    if tail.since is not None:
        await client.until_live()
        top = tail.since
        past = (
            _mailbox(client, since=top)
            if tail.conv is None
            else _history(client, tail.conv, after=top)
        )
        async for event in past:
            yield event
            top = max(top, _number(event, tail) or 0)
    async for event in client.events():
        if isinstance(event, Reset) or tail.conv in (None, _conv_of(event)):
            number = _number(event, tail)
            if number is None or number > top:
                yield event


async def _mailbox(client: Client, *, since: int) -> AsyncGenerator[Any, None]:
    more = True
    while more:
        page = await client.call("events", since=since, limit=PAGE)
        for fields in page.events:
            yield decode_event(fields)
            since = max(since, fields["seq"])
        more = page.more


async def _history(
    client: Client, conv: str, *, after: int
) -> AsyncGenerator[Any, None]:
    more = True
    while more:
        page = await client.call("history", conv=conv, after=after, limit=PAGE)
        for item in page.items:
            yield msgspec.convert(
                msgspec.to_builtins(item) | {"t": "message.new"}, MessageNew
            )
            after = item.n
        more = page.more


def _number(event: Any, tail: Tail) -> int | None:
    """What --since counts: a message's n in its conversation, or the mailbox's seq."""
    name = "seq" if tail.conv is None else "n"
    if tail.conv is not None and not isinstance(event, MessageNew):
        return None
    number = getattr(event, name, None)
    return number if isinstance(number, int) else None


def _conv_of(event: Any) -> str | None:
    return getattr(event, "conv", None)


def _fields(event: Any) -> dict[str, Any]:
    """As on the wire."""
    if isinstance(event, Reset):
        return {"t": "reset", "reason": event.reason}
    fields: dict[str, Any] = msgspec.to_builtins(event)
    if isinstance(event, UnknownEvent):
        fields |= fields.pop("fields", {})
    return fields


def _json_line(event: Any) -> bytes:
    return msgspec.json.encode(_fields(event)) + b"\n"


def _line(event: Any) -> bytes:
    fields = _fields(event)
    ts = fields.pop("ts", None)
    at = "" if ts is None else _local(ts)
    if isinstance(event, MessageNew):
        text = event.text
        if text is None:
            text = msgspec.json.encode(event.body).decode()
        said = f"{event.sender}: {text}"
    else:
        said = f"-- {fields.pop('t')} {msgspec.json.encode(fields).decode()}"
    return (at + _printable(said)).encode("utf-8", "backslashreplace") + b"\n"


def _local(ts: int) -> str:
    at = datetime.fromtimestamp(ts / 1000, UTC).astimezone()
    return f"{at:%Y-%m-%d %H:%M:%S} "


def _printable(text: str) -> str:
    """On one line, and without what would command the terminal."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode() for c in text
    )


def _write(line: bytes) -> None:
    sys.stdout.buffer.write(line)
    sys.stdout.buffer.flush()
