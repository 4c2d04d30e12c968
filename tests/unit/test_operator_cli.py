# SPDX-License-Identifier: Apache-2.0
"""``chatmotor user``, ``invite``, ``hook`` and ``db``, where no node runs."""

import asyncio
import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from chatmotor.adapters.sqlite_store import SqliteStore
from chatmotor.cli import cli
from tests.harness.accounts import OTHER_PASSWORD, PASSWORD


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data directory of the commands."""
    monkeypatch.setenv("CM_DATA_DIR", str(tmp_path))
    monkeypatch.delenv("CM_CONFIG_HOME", raising=False)
    return tmp_path


def run(*arguments: str, stdin: str | None = None) -> Result:
    """What the command printed, and its exit status."""
    return CliRunner().invoke(cli, arguments, input=stdin)


def create(name: str = "ann", *more: str) -> Result:
    """Make an account."""
    arguments = ("user", "create", name, "--password-stdin", *more)
    return run(*arguments, stdin=f"{PASSWORD}\n")


def listed() -> list[tuple[str, bool, bool]]:
    """Username, whether admin, whether deactivated."""
    done = run("user", "list", "--json")
    return [
        (each["username"], each["admin"], each["closed"])
        for each in json.loads(done.stdout)
    ]


def test_accounts_are_made_changed_and_listed() -> None:
    """Without a node the commands work on the store itself."""
    assert (0, "made ann\n") == (
        (done := create("Ann", "--admin")).exit_code,
        done.stdout,
    )
    assert 0 == create("bob", "--display-name", "Bob B.").exit_code
    assert 0 == run("user", "deactivate", "bob").exit_code
    assert [("ann", True, False), ("bob", False, True)] == listed()
    assert 0 == run("user", "activate", "bob").exit_code
    assert 0 == run("user", "admin", "ann", "--remove").exit_code
    assert 0 == run("user", "admin", "bob").exit_code
    assert [("ann", False, False), ("bob", True, False)] == listed()
    assert "Bob B." in run("user", "list").stdout


def test_a_password_is_asked_for_and_never_shown() -> None:
    """Twice, without an echo; it is no argument."""
    done = run("user", "create", "ann", stdin=f"{PASSWORD}\n{PASSWORD}\n")
    changed = run("user", "passwd", "ann", "--password-stdin", stdin=OTHER_PASSWORD)

    assert (0, 0) == (done.exit_code, changed.exit_code)
    assert PASSWORD not in done.output
    assert OTHER_PASSWORD not in changed.output


def test_the_password_is_argon2id(data: Path) -> None:
    """What is on disk is a hash with today's parameters."""
    create()

    content = b"".join(file.read_bytes() for file in data.glob("chatmotor.db*"))

    assert b"$argon2id$v=19$m=19456,t=2,p=1$" in content
    assert PASSWORD.encode() not in content


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("user", "create", "admin", "--password-stdin"), "reserved"),
        (("user", "create", "cyd", "--password-stdin"), "at least 8"),
        (("user", "reset", "norman"), "norman|no such user"),
        (("user", "revoke", "ann", "phone"), "device"),
        (("invite", "create", "--uses", "0"), "1 to"),
        (("hook", "add", "ann", "ftp://example.org"), "https://host/path"),
        (("hook", "add", "ann", "--amqp"), "kind"),
        (("hook", "add", "norman", "https://example.org"), "norman|no such user"),
        (("hook", "resume", "h1"), "no such hook"),
        (("hook", "test", "h1"), "no such hook"),
        (("db", "upgrade"), "upgrades itself"),
        (("user", "list", "--data-dir", "/dev/null/none"), "--data-dir"),
    ],
)
def test_a_refusal_is_one_sentence_and_status_2(
    arguments: tuple[str, ...], words: str
) -> None:
    """On standard error; nothing on standard output."""
    create()

    done = run(*arguments, stdin="short\n")

    assert (2, "") == (done.exit_code, done.stdout)
    (line,) = done.stderr.splitlines()
    assert line.startswith("chatmotor: ")
    assert re.search(words, line)


def test_a_hook_is_made_changed_and_removed() -> None:
    """Its secret is printed when it is made and when it is replaced."""
    create()
    url = "http://127.0.0.1:1/in"
    options = ("--type", "message.new", "--type", "conv.new")
    hook, secret = run("hook", "add", "Ann", url, *options).stdout.splitlines()

    tried = run("hook", "test", hook)
    rotated = run("hook", "rotate", hook)
    listed = run("hook", "list")
    (shown,) = json.loads(run("hook", "list", "--json").stdout)

    assert re.fullmatch(r"h[0-9a-f]{16}", hook)
    assert secret.startswith("whsec_")
    assert (2, "") == (tried.exit_code, tried.stdout)
    assert "has not taken it: it cannot be reached: Connection refused" in tried.stderr
    assert rotated.stdout.startswith("whsec_")
    assert "the old one is good until" in rotated.stderr
    assert f"{hook}\tann\ton\t{url}\t0 behind\n" == listed.stdout
    assert ["message.new", "conv.new"] == shown["types"]
    for each in (secret, rotated.stdout.strip()):
        assert each not in listed.output + str(shown)
    assert "done\n" == run("hook", "resume", hook).stdout
    assert "done\n" == run("hook", "remove", hook).stdout
    assert "" == run("hook", "list").stdout


def test_links_are_printed_alone() -> None:
    """So that a script can take them; how long they are good stands beside."""
    create()
    reset, invite = run("user", "reset", "Ann"), run("invite", "create", "--days", "1")

    for done, path in ((reset, "reset"), (invite, "invite")):
        assert re.fullmatch(rf"http://127.0.0.1:8888/{path}#[\w-]{{43}}\n", done.stdout)
        assert "good until" in done.stderr


def test_an_invitation_that_opens_nothing_is_not_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """SIGN_UP closed: the operator is told."""
    monkeypatch.setenv("CM_SIGN_UP", "closed")

    done = run("invite", "create")

    assert 2 == done.exit_code
    assert "SIGN_UP" in done.stderr


def test_an_account_of_a_host_needs_no_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its users have tokens of the host; an administrator is made before its first."""
    monkeypatch.setenv("CM_JWT_SECRET", "s" * 32)

    assert 0 == run("user", "create", "ann", "--admin").exit_code
    assert [("ann", True, False)] == listed()
    assert 2 == run("user", "reset", "ann").exit_code


def test_the_store_is_described_and_its_epoch_renewed() -> None:
    """The schema that is there and the one needed; another epoch each time."""
    before = run("db", "status")
    create()
    epochs = {run("db", "new-epoch").stdout for _ in range(2)}

    assert "schema 0 of 2, new" in before.stdout
    assert "schema 2 of 2, up to date" in run("db", "status").stdout
    assert 2 == len(epochs)


def test_a_store_in_use_is_left_alone(data: Path) -> None:
    """An SQLite file has one writer: whoever has its lock."""
    create()

    async def run_beside() -> Result:
        store = SqliteStore(data / "chatmotor.db")
        await store.start()
        try:
            return await asyncio.to_thread(run, "user", "list")
        finally:
            await store.stop()

    done = asyncio.run(run_beside())

    assert (2, "") == (done.exit_code, done.stdout)
