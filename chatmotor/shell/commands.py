# SPDX-License-Identifier: Apache-2.0
"""``chatmotor login``, ``logout``, ``send`` and ``tail``.

How-to: docs/howto/from-a-shell.md.  How they end: exits.py.
"""

import json
import os
import secrets
import socket
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import click

from chatmotor.shell.calls import NotNow, Refusal, call, call_until
from chatmotor.shell.exits import (
    BAD_DATA,
    TRY_AGAIN,
    ShellCommand,
    fail,
    status_of,
)
from chatmotor.shell.logins import (
    LogIn,
    Logins,
    accepted_url,
    chosen_login,
    given_secret,
    is_in_the_clear,
)

MAX_INPUT_BYTES = 1024 * 1024
RENEW_SECONDS = 5.0
_URL = click.option("--url", help="The server; by default CM_URL, or the last log-in.")
_CONV = click.option("--conv", help="A conversation, as g.1234.")
_TIMEOUT = click.option(
    "--timeout", type=click.FloatRange(min=0), default=10.0, show_default=True,
    help="Seconds to try for.",
)  # fmt: skip


@click.command(cls=ShellCommand)
@click.argument("url")
@click.argument("username")
@click.option("--device", help="Its name; the same name is the same device.")
def login(url: str, username: str, device: str | None) -> None:
    """
    Log in at URL, and remember it.

    The password is asked for, or read from the file CM_PASSWORD_FILE, or, where no
    terminal is, from standard input.
    """
    url = accepted_url(url)
    if is_in_the_clear(url):
        click.echo("chatmotor: the password goes there unencrypted", err=True)
    password = given_secret(os.environ, "CM_PASSWORD")
    if password is None and sys.stdin.isatty():
        password = click.prompt("Password", hide_input=True, err=True)
    elif password is None:
        password = sys.stdin.readline().rstrip("\r\n")
    asked = {
        "username": username,
        "password": password,
        "device": device or f"shell on {socket.gethostname()}"[:64],
    }
    try:
        answer = call(url, "/v1/tokens", asked, expected=("token", "expires"))
    except (NotNow, Refusal) as refused:
        _give_up(refused)
    token, expires = str(answer["token"]), int(answer["expires"])
    Logins(os.environ).keep(LogIn(url, username, token, _now_ms(), expires))
    click.echo(f"logged in at {url} as {username}")


@click.command(cls=ShellCommand)
@_URL
def logout(url: str | None) -> None:
    """Log out: the token is of no use any more, for anybody."""
    logins = Logins(os.environ)
    log_in = logins.find(None if url is None else accepted_url(url))
    if log_in is None:
        click.echo("nobody is logged in")
        return
    try:
        call(log_in.url, "/v1/tokens/current", None, token=log_in.token,
             method="DELETE")  # fmt: skip
    except Refusal:
        pass  # it was over already
    except NotNow as not_now:
        _give_up(not_now)
    logins.forget(log_in)
    click.echo(f"logged out at {log_in.url}")


@click.command(cls=ShellCommand)
@click.argument("arguments", nargs=-1, metavar="TO [TEXT]")
@_CONV
@click.option("--json", "as_json", is_flag=True, help="TEXT is JSON: any body.")
@click.option("--raw", is_flag=True, help="Pass TEXT on byte for byte.")
@click.option("--cid", help="The name of this message: repeated, it is stored once.")
@click.option("--reply-to", type=click.IntRange(min=1), help="The n of a message.")
@click.option("--answer", is_flag=True, help="Print where it is stored, as JSON.")
@_TIMEOUT
@_URL
def send(
    arguments: tuple[str, ...],
    *,
    conv: str | None,
    as_json: bool,
    raw: bool,
    cid: str | None,
    reply_to: int | None,
    answer: bool,
    timeout: float,
    url: str | None,
) -> None:
    """
    Send TEXT to the user TO; without TEXT, or for "-", what standard input has.

    With --conv there is no TO.  Ends with 0 once the message is stored.
    """
    deadline = time.monotonic() + timeout
    names, text = _split(arguments, is_named=conv is not None)
    if as_json and raw:
        raise click.UsageError("--json or --raw, not both")
    log_in = _fresh(chosen_login(os.environ, url))
    fields: dict[str, Any] = {"cid": cid or secrets.token_hex(16)}
    fields |= {"conv": conv} if conv is not None else {"to": names[0]}
    fields |= _content(_text(text, keep=raw), as_json=as_json, raw=raw)
    if reply_to is not None:
        fields["reply_to"] = reply_to
    try:
        sent = call_until(
            *(deadline, log_in.url, "/v1/rpc/send", fields),
            token=log_in.token,
            expected=("conv", "n"),
        )
    except NotNow as not_now:
        again = f"; repeat it with --cid {fields['cid']}" if not_now.is_open else ""
        fail(TRY_AGAIN, f"{not_now}{again}")
    except Refusal as refused:
        _give_up(refused)
    if answer:
        click.echo(json.dumps(sent, ensure_ascii=False))


@click.command(cls=ShellCommand)
@_CONV
@click.option("--json", "as_json", is_flag=True, help="Each event as JSON.")
@click.option(
    "--since",
    type=click.IntRange(min=0),
    help="Begin after this n of --conv, else after this seq of the mailbox.",
)
@click.option("--new", is_flag=True, help="Begin with what comes now; the default.")
@click.option("--count", type=click.IntRange(min=1), help="End after so many.")
@click.option(
    "--state",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Remember the place in this file, and go on from there the next time.",
)
@_URL
def tail(**asked: Any) -> None:
    """
    Print events as they come, one a line: messages, and what else happens.

    Goes on when the server was away.  Ctrl-C ends it, with 130.
    """
    if asked["new"] and asked["since"] is not None:
        raise click.UsageError("--since or --new, not both")
    if asked["state"] is not None and asked["since"] is not None:
        raise click.UsageError("--since or --state, not both: the file has a place")
    log_in = _fresh(chosen_login(os.environ, asked["url"]))
    from chatmotor.shell.tailing import Tail, run_tail  # noqa: PLC0415  # the client

    sys.exit(
        run_tail(
            Tail(
                log_in,
                conv=asked["conv"],
                since=asked["since"],
                count=asked["count"],
                state=asked["state"],
                as_json=asked["as_json"],
            )
        )
    )


def _fresh(log_in: LogIn) -> LogIn:
    """
    With another token, once half of its time is over: who comes now and then need not
    log in again.
    """
    if _now_ms() < (log_in.since + log_in.expires) // 2 or not log_in.expires:
        return log_in
    try:
        answer = call(
            *(log_in.url, "/v1/tokens/renew", {}),
            token=log_in.token,
            seconds=RENEW_SECONDS,
            expected=("token", "expires"),
        )
    except (NotNow, Refusal):
        return log_in  # what it is worth the server will say
    fresh = replace(
        log_in, token=answer["token"], since=_now_ms(), expires=answer["expires"]
    )
    Logins(os.environ).keep(fresh, is_last=False)
    return fresh


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _split(
    arguments: tuple[str, ...], *, is_named: bool
) -> tuple[tuple[str, ...], str]:
    """TO, where there is one, and TEXT."""
    names, rest = (arguments[:0], arguments) if is_named else (
        arguments[:1], arguments[1:])  # fmt: skip
    if not is_named and not names:
        raise click.UsageError("say to whom: TO, or --conv")
    if len(rest) > 1:
        raise click.UsageError("TEXT is one argument: put it between quotes")
    return names, rest[0] if rest else "-"


def _text(text: str, *, keep: bool) -> str:
    if text != "-":
        return text
    content = sys.stdin.buffer.read(MAX_INPUT_BYTES + 1)
    if len(content) > MAX_INPUT_BYTES:
        fail(BAD_DATA, f"the text has over {MAX_INPUT_BYTES} bytes")
    try:
        found = content.decode()
    except UnicodeDecodeError:
        fail(BAD_DATA, "the text is not UTF-8")
    return found if keep else found.removesuffix("\n").removesuffix("\r")


def _content(text: str, *, as_json: bool, raw: bool) -> dict[str, Any]:
    if raw:
        return {"raw": text}
    if not as_json:
        return {"body": text}
    try:
        return {"body": json.loads(text)}
    except (ValueError, RecursionError):
        fail(BAD_DATA, "the text is not JSON")


def _give_up(refused: NotNow | Refusal) -> NoReturn:
    if isinstance(refused, NotNow):
        fail(TRY_AGAIN, str(refused))
    fail(status_of(refused.code, retry=False), f"{refused} ({refused.code})")
