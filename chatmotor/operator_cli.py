# SPDX-License-Identifier: Apache-2.0
"""``chatmotor user``, ``invite``, ``hook``, ``db``: the operator's commands, as words.

A password is asked for or read from standard input; it is never an argument, which
other users of the machine could see.
"""

import json
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import update_wrapper
from typing import Any, TypeVar

import click

from chatmotor.account_bindings import has_host
from chatmotor.errors import OperatorError
from chatmotor.operating import (
    begin_epoch,
    operator_settings,
    read_schema,
    run_command,
    upgrade_schema,
)
from chatmotor.options import Settings

F = TypeVar("F", bound=Callable[..., Any])


class Console:
    """The options of an invocation, read when a command first needs them."""

    def __init__(self, overrides: Mapping[str, Any]) -> None:
        self._overrides = overrides
        self._settings: Settings | None = None

    @property
    def settings(self) -> Settings:
        """The options in force."""
        if self._settings is None:
            self._settings = operator_settings(self._overrides)
        return self._settings

    def run(self, name: str, **arguments: Any) -> dict[str, Any]:
        """Run a command."""
        return run_command(self.settings, name, arguments)


def _operates(function: F) -> F:
    """Give the command its console; a refusal is one sentence and exit status 2."""

    @click.option("--data-dir", "DATA_DIR", help="The node's data directory.")
    def wrapped(*arguments: Any, DATA_DIR: str | None, **options: Any) -> None:  # noqa: N803
        overrides = {} if DATA_DIR is None else {"DATA_DIR": DATA_DIR}
        try:
            function(Console(overrides), *arguments, **options)
        except OperatorError as wrong:
            click.echo(f"chatmotor: {wrong}", err=True)
            sys.exit(2)

    return update_wrapper(wrapped, function)  # type: ignore[return-value]


def _all_pages(console: Console, name: str, *, by: str) -> list[dict[str, Any]]:
    """All that a list has, page by page; *by*: the field that it is in the order of."""
    found: list[dict[str, Any]] = []
    more = True
    while more:
        after = found[-1][by] if found else ""
        page = console.run(name, after=after, limit=500)
        found += page["items"]
        more = page["more"]
    return found


@click.group()
def user() -> None:
    """Accounts: make, list, change, deactivate."""


@user.command("create")
@click.argument("name")
@click.option("--admin", is_flag=True, help="Make it an administrator.")
@click.option("--password-stdin", is_flag=True, help="Read the password from stdin.")
@click.option("--display-name", help="Shown to people instead of the username.")
@_operates
def create_user(
    console: Console,
    name: str,
    *,
    admin: bool,
    password_stdin: bool,
    display_name: str | None,
) -> None:
    """Make an account, whatever SIGN_UP says."""
    # The users of a host application prove themselves with its tokens.
    password = None if has_host(console.settings) else _password(password_stdin)
    made = console.run(
        "user.create",
        username=name,
        password=password,
        display_name=display_name,
        admin=admin,
    )
    click.echo(f"made {made['username']}")


@user.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON array.")
@_operates
def list_users(console: Console, *, as_json: bool) -> None:
    """List all accounts."""
    found = _all_pages(console, "user.list", by="username")
    if as_json:
        click.echo(json.dumps(found, ensure_ascii=False, indent=1))
        return
    for each in found:
        marks = ["admin"] * each["admin"] + ["deactivated"] * each["closed"]
        shown = [each["username"], each["display_name"], _day(each["created"]), *marks]
        click.echo("\t".join(shown))


@user.command("passwd")
@click.argument("name")
@click.option("--password-stdin", is_flag=True, help="Read the password from stdin.")
@_operates
def set_password(console: Console, name: str, *, password_stdin: bool) -> None:
    """Set another password; all devices of the account are logged out."""
    console.run("user.passwd", username=name, password=_password(password_stdin))
    click.echo("done")


@user.command("reset")
@click.argument("name")
@_operates
def reset_password(console: Console, name: str) -> None:
    """Print a link with which the owner sets another password, once."""
    _print_link(console.run("user.reset", username=name))


@user.command("admin")
@click.argument("name")
@click.option("--remove", is_flag=True, help="Make it no administrator any more.")
@_operates
def set_admin(console: Console, name: str, *, remove: bool) -> None:
    """Make the account an administrator."""
    console.run("user.admin", username=name, admin=not remove)
    click.echo("done")


@user.command("deactivate")
@click.argument("name")
@_operates
def deactivate(console: Console, name: str) -> None:
    """Log the account out everywhere, and let nobody in or write to it."""
    console.run("user.deactivate", username=name)
    click.echo("done")


@user.command("activate")
@click.argument("name")
@_operates
def activate(console: Console, name: str) -> None:
    """Open a deactivated account again."""
    console.run("user.activate", username=name)
    click.echo("done")


@user.command("devices")
@click.argument("name")
@_operates
def list_devices(console: Console, name: str) -> None:
    """List where the account is logged in: device, since when, last seen."""
    for each in console.run("user.devices", username=name)["items"]:
        shown = [each["device"], _minute(each["created"]), _minute(each["seen"])]
        click.echo("\t".join(shown))


@user.command("revoke")
@click.argument("name")
@click.argument("device")
@_operates
def revoke(console: Console, name: str, device: str) -> None:
    """Log one device of the account out."""
    console.run("user.revoke", username=name, device=device)
    click.echo("done")


@click.group()
def invite() -> None:
    """Invitations."""


@invite.command("create")
@click.option("--uses", type=int, default=1, show_default=True, help="For how many.")
@click.option("--days", type=float, default=7, show_default=True, help="How long.")
@_operates
def create_invite(console: Console, *, uses: int, days: float) -> None:
    """Print a link with which people make an account."""
    if console.settings.SIGN_UP == "closed":
        raise OperatorError(
            'SIGN_UP is "closed", and no invitation opens it; set it to "invite"'
        )
    _print_link(console.run("invite.create", uses=uses, days=days))


@click.group()
def hook() -> None:
    """Outgoing hooks: where an account's events go outside."""


@hook.command("add")
@click.argument("name")
@click.argument("url", required=False, default="")
@click.option("--amqp", is_flag=True, help="To a queue of RabbitMQ; without a URL.")
@click.option("--type", "types", multiple=True, help="Only events of this type.")
@click.option("--conv", help="Only events of this conversation.")
@_operates
def add_hook(
    console: Console,
    name: str,
    url: str,
    *,
    amqp: bool,
    types: tuple[str, ...],
    conv: str | None,
) -> None:
    """
    Have all events of the account NAME, from now on, sent to URL.

    The id of the hook and the secret that signs are printed; the secret only now.
    """
    made = console.run(
        "hook.add",
        username=name,
        url=url,
        kind="amqp" if amqp else "webhook",
        types=list(types),
        conv=conv,
    )
    click.echo(made["hook"])
    if made["secret"]:
        click.echo(made["secret"])


@hook.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON array.")
@_operates
def list_hooks(console: Console, *, as_json: bool) -> None:
    """List all hooks, how far behind each is, and what it fails of."""
    found = _all_pages(console, "hook.list", by="hook")
    if as_json:
        click.echo(json.dumps(found, ensure_ascii=False, indent=1))
        return
    for each in found:
        target = each["url"] or each["kind"]
        shown = [each["hook"], each["username"], each["state"], target]
        shown.append(f"{each['behind']} behind")
        if each["failing_since"] is not None:
            since = _minute(each["failing_since"])
            shown.append(f"failing since {since}: {each['error']}")
        click.echo("\t".join(shown))


@hook.command("remove")
@click.argument("hook_id", metavar="HOOK")
@_operates
def remove_hook(console: Console, hook_id: str) -> None:
    """Remove a hook."""
    console.run("hook.remove", hook=hook_id)
    click.echo("done")


@hook.command("resume")
@click.argument("hook_id", metavar="HOOK")
@_operates
def resume_hook(console: Console, hook_id: str) -> None:
    """Switch a hook on again, or have it try now; it goes on from its place."""
    console.run("hook.resume", hook=hook_id)
    click.echo("done")


@hook.command("rotate")
@click.argument("hook_id", metavar="HOOK")
@_operates
def rotate_hook(console: Console, hook_id: str) -> None:
    """Print another secret; the old one signs beside it for a day."""
    answer = console.run("hook.rotate", hook=hook_id)
    click.echo(answer["secret"])
    until = _minute(answer["old_until"])
    click.echo(f"the old one is good until {until}", err=True)


@hook.command("test")
@click.argument("hook_id", metavar="HOOK")
@_operates
def test_hook(console: Console, hook_id: str) -> None:
    """Send a test event, once, and say what came of it."""
    error = console.run("hook.test", hook=hook_id)["error"]
    if error:
        raise OperatorError(f"the target has not taken it: {error}")
    click.echo("delivered")


@click.group()
def db() -> None:
    """The store."""


@db.command("status")
@_operates
def status(console: Console) -> None:
    """Say which store there is, and whether its schema is the one needed."""
    found, needed = read_schema(console.settings)
    state = "new" if not found else "up to date" if found == needed else "to upgrade"
    click.echo(f"{console.settings.STORE}: schema {found} of {needed}, {state}")


@db.command("upgrade")
@_operates
def upgrade(console: Console) -> None:
    """Upgrade a PostgreSQL database, before nodes of a new version start."""
    upgrade_schema(console.settings)
    found, _ = read_schema(console.settings)
    click.echo(f"schema {found}")


@db.command("new-epoch")
@_operates
def new_epoch(console: Console) -> None:
    """After a restore from a backup: tell clients to start anew.  Stop all nodes."""
    click.echo(f"epoch {begin_epoch(console.settings)}")


def _password(from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    asked: str = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    return asked


def _print_link(answer: Mapping[str, Any]) -> None:
    """The link alone on standard output, what else there is to say beside it."""
    click.echo(answer["link"])
    click.echo(f"good until {_minute(answer['expires'])}", err=True)


def _minute(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _day(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d")
