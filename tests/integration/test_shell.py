# SPDX-License-Identifier: Apache-2.0
"""``chatmotor login``, ``send``, ``tail`` and ``logout``, as scripts use them.

They are run as processes; the server is the test kit's, so that wires can be cut.
"""

import asyncio
import json
import secrets
import signal
import stat
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from chatmotor.ports.accounts import hash_secret
from chatmotor.testing import TestServer
from chatmotor.testing.server import PASSWORD
from tests.harness.node import DEADLINE_SECONDS
from tests.harness.shell import Running, Shell

BAD_DATA = 65
NO_SUCH = 67
NOT_ALLOWED = 77
TRY_AGAIN = 75
USAGE = 64


@pytest.fixture(scope="module")
async def server() -> AsyncIterator[TestServer]:
    """One for all tests here, with alice and bob."""
    async with TestServer(ALLOW_GUESTS="false") as server:
        for name in ("alice", "bob"):
            await server.token(name)
        yield server


@pytest.fixture(scope="module")
async def shell(server: TestServer, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """Alice's, logged in."""
    shell = Shell(tmp_path_factory.mktemp("home"))
    done = await shell.run("login", server.url, "alice", stdin=PASSWORD + "\n")
    assert (0, f"logged in at {server.url} as alice\n") == (done.status, done.out)
    return shell


async def last(server: TestServer) -> Any:
    """The last message between alice and bob, as bob reads it."""
    synced: Any = await server.chat.call("bob", "sync")
    [conv] = [each for each in synced.convs if each.user == "alice"]
    return conv.last


# Log in, log out.


async def test_a_login_is_kept_for_its_owner_alone(
    server: TestServer, shell: Shell
) -> None:
    """The file has mode 0600, its directory 0700; nothing is left beside it."""
    directory = shell.home / "chatmotor"
    [path] = directory.iterdir()
    kept = json.loads(path.read_text())

    assert "logins.json" == path.name
    assert 0o600 == stat.S_IMODE(path.stat().st_mode)
    assert 0o700 == stat.S_IMODE(directory.stat().st_mode)
    assert "alice" == kept["logins"][server.url]["username"]


async def test_a_wrong_password_is_not_allowed(
    server: TestServer, tmp_path: Path
) -> None:
    """77, and nothing is kept; nobody is told the password."""
    shell = Shell(tmp_path)
    done = await shell.run("login", server.url, "alice", stdin="gravel-oak-77\n")

    assert (NOT_ALLOWED, "") == (done.status, done.out)
    assert "gravel" not in done.err
    assert not (shell.home / "chatmotor").exists()


async def test_a_password_can_be_in_a_file(server: TestServer, tmp_path: Path) -> None:
    """CM_PASSWORD_FILE, for what runs without anybody."""
    secret = tmp_path / "secret"
    secret.write_text(PASSWORD + "\n")
    shell = Shell(tmp_path, CM_PASSWORD_FILE=str(secret))

    done = await shell.run("login", server.url + "/", "bob", "--device", "cron")
    devices: Any = await server.chat.call("bob", "device.list")

    assert 0 == done.status
    assert "cron" in {each.device for each in devices.devices}


async def test_a_logout_ends_the_token_everywhere(
    server: TestServer, tmp_path: Path
) -> None:
    """Also for whoever has a copy of it."""
    shell = Shell(tmp_path)
    await shell.run("login", server.url, "bob", stdin=PASSWORD + "\n")
    kept = json.loads((tmp_path / "chatmotor" / "logins.json").read_text())
    token = kept["logins"][server.url]["token"]
    copy = Shell(tmp_path / "other", CM_URL=server.url, CM_TOKEN=token)
    before = await copy.line("chatmotor send alice hi")

    done = await shell.run("logout")
    copied = await copy.line("chatmotor send alice hi")
    own = await shell.run("send", "alice", "hi")

    assert 0 == before.status
    assert (0, f"logged out at {server.url}\n") == (done.status, done.out)
    assert [NOT_ALLOWED, NOT_ALLOWED] == [copied.status, own.status]
    assert "nobody is logged in" in own.err


async def test_a_login_that_is_used_lasts(server: TestServer, tmp_path: Path) -> None:
    """A command in the second half of a token's time has another one made."""
    shell = Shell(tmp_path)
    await shell.run("login", server.url, "bob", stdin=PASSWORD)
    first = kept(shell)
    at_once = await shell.run("send", "alice", "hi")
    keep(shell, first | {"since": 0})
    used = kept(shell)
    late = await shell.run("send", "alice", "hi")
    renewed = kept(shell)
    after = await shell.run("send", "alice", "hi")

    assert [0, 0, 0] == [each.status for each in (at_once, late, after)]
    assert first["token"] == used["token"] != renewed["token"]
    assert renewed["since"] >= first["since"]
    assert kept(shell) == renewed


async def test_a_tail_takes_the_token_that_another_command_has_renewed(
    server: TestServer, tmp_path: Path
) -> None:
    """And ends with 77 when the old one ends and nobody has."""
    shell = Shell(tmp_path)
    await shell.run("login", server.url, "bob", stdin=PASSWORD)
    async with tailing(server, shell, "bob", "--json") as tail:
        keep(shell, kept(shell) | {"token": await renew(server, kept(shell)["token"])})
        server.chat.recheck("bob")
        assert "chatmotor: the server is away; trying again" == await tail.complaint()
        assert "chatmotor: the server is back" == await tail.complaint()
        await server.chat.send(from_="alice", to="bob", body="still there?")
        line = await tail.line()
        await renew(server, kept(shell)["token"])
        server.chat.recheck("bob")
        ended = await tail.ended()

    assert "still there?" in line
    assert NOT_ALLOWED == ended.status
    assert "expired" in ended.err


def kept(shell: Shell) -> dict[str, Any]:
    """The only log-in of this shell."""
    path = shell.home / "chatmotor" / "logins.json"
    [entry] = json.loads(path.read_text())["logins"].values()
    return dict(entry)


def keep(shell: Shell, entry: dict[str, Any]) -> None:
    """Change it."""
    path = shell.home / "chatmotor" / "logins.json"
    known = json.loads(path.read_text())
    known["logins"] = dict.fromkeys(known["logins"], entry)
    path.write_text(json.dumps(known))


async def renew(server: TestServer, token: str) -> str:
    """Another token; the old one ends now, and not in five minutes."""
    now = time.time_ns() // 1_000_000
    fresh = f"cm_{secrets.token_hex(16)}"
    await server.chat.node.store.replace_token(
        *(hash_secret(token), hash_secret(fresh)),
        expires=now + 3_600_000,
        old_expires=now,
        now=now - 1,
    )
    return fresh


# Send.


async def test_a_text_is_stored_when_the_command_ends(
    server: TestServer, shell: Shell
) -> None:
    """Silent, and 0."""
    done = await shell.run("send", "bob", "hello bob")
    message = await last(server)

    assert (0, "", "") == (done.status, done.out, done.err)
    assert ("alice", "hello bob") == (message.sender, message.body)


@pytest.mark.parametrize(
    ("line", "sent"),
    [
        ("echo piped | chatmotor send bob", {"body": "piped"}),
        (r"printf 'two\nlines\n' | chatmotor send bob -", {"body": "two\nlines"}),
        ("""chatmotor send bob --json '{"build": 7}'""", {"body": {"build": 7}}),
        (r"printf ' as it is\n' | chatmotor send bob --raw", {"raw": " as it is\n"}),
        ("chatmotor send bob -- --json", {"body": "--json"}),
        ("chatmotor send bob grüße", {"body": "grüße"}),
    ],
)
async def test_a_text_comes_from_where_it_is_said(
    server: TestServer, shell: Shell, line: str, sent: dict[str, Any]
) -> None:
    """An argument, a pipe; as text, as JSON, as bytes."""
    done = await shell.line(line)
    message = await last(server)
    stored = {
        name: getattr(message, name)
        for name in ("body", "raw")
        if name in sent or name not in ("body", "raw")
    }

    assert (0, "") == (done.status, done.err)
    assert sent == stored


async def test_the_same_cid_is_stored_once(server: TestServer, shell: Shell) -> None:
    """So a script may repeat what it is not sure of; ``--answer`` says where it is."""
    command = ("send", "bob", "once", "--cid", "build-7", "--answer")
    first, again = [json.loads((await shell.run(*command)).out) for _ in range(2)]
    other = await shell.run("send", "bob", "twice", "--cid", "build-7")
    reply = await shell.run(
        *("send", "--conv", first["conv"], "right", "--reply-to", str(first["n"]))
    )
    message = await last(server)

    assert (first["conv"], first["n"]) == (again["conv"], again["n"])
    assert [False, True] == [first["dup"], again["dup"]]
    assert (BAD_DATA, 0) == (other.status, reply.status)
    assert ("right", first["n"]) == (message.body, message.reply_to)


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (("send",), USAGE),
        (("send", "bob", "two", "words"), USAGE),
        (("send", "bob", "x", "--json", "--raw"), USAGE),
        (("send", "bob", "x", "--no-such-option"), USAGE),
        (("send", "bob", "x", "--url", "chat.example.org"), USAGE),
        (("tail", "--since", "many"), USAGE),
        (("tail", "--since", "3", "--new"), USAGE),
        (("send", "bob", "--json", "{"), BAD_DATA),
        (("send", "bob", "x" * 40_000), BAD_DATA),
        (("send", "nobody", "hi"), NO_SUCH),
        (("send", "--conv", "g.12", "hi"), NO_SUCH),
        (("send", "bob", "hi", "--url", "https://chat.example.org"), NOT_ALLOWED),
    ],
)
async def test_a_refusal_has_a_status_and_a_sentence(
    shell: Shell, arguments: tuple[str, ...], status: int
) -> None:
    """64, 65, 67, 77: a script can tell them apart; nothing is on standard output."""
    done = await shell.run(*arguments)

    assert (status, "") == (done.status, done.out)
    assert done.err


async def test_what_is_no_text_is_refused(shell: Shell) -> None:
    """A file of bytes is no message."""
    done = await shell.run("send", "bob", stdin=b"\xff\xfe")

    assert BAD_DATA == done.status


async def test_a_revoked_token_is_not_allowed(
    server: TestServer, tmp_path: Path
) -> None:
    """77, for ``send`` and for ``tail``, whatever they did before."""
    shell = Shell(
        tmp_path, CM_URL=server.url, CM_TOKEN=await server.token("bob", device="lost")
    )
    async with tailing(server, shell, "bob", "--json") as tail:
        before = await shell.run("send", "alice", "hi")
        await tail.line()
        await server.chat.call("bob", "device.revoke", device="lost")
        tailed = await tail.ended()
    after = await shell.run("send", "alice", "hi")
    again = await shell.run("tail")

    assert [0, NOT_ALLOWED] == [before.status, after.status]
    assert [NOT_ALLOWED, NOT_ALLOWED] == [tailed.status, again.status]
    assert "cm_" not in after.err + tailed.err + again.err


async def test_a_token_is_for_its_own_server_only(
    server: TestServer, tmp_path: Path
) -> None:
    """CM_TOKEN without a URL is not guessed to be for the last log-in."""
    shell = Shell(tmp_path)
    await shell.run("login", server.url, "bob", stdin=PASSWORD + "\n")
    shell.environment["CM_TOKEN"] = "cm_of_another_server"
    done = await shell.run("send", "alice", "hi")

    assert USAGE == done.status
    assert "CM_URL" in done.err


async def test_a_server_that_is_away_is_tried_for_a_while(
    server: TestServer, shell: Shell
) -> None:
    """75 in the end; and 0 when it comes back in time."""
    server.cut()
    try:
        away = await shell.run("send", "bob", "hi", "--timeout", "0")
        lost = await shell.run("login", server.url, "bob", stdin=PASSWORD)
        async with shell.running("send", "bob", "in the end") as sending:
            server.mend()
            done = await sending.ended()
    finally:
        server.mend()
    message = await last(server)

    assert [TRY_AGAIN, TRY_AGAIN, 0] == [away.status, lost.status, done.status]
    assert "cannot be reached" in away.err
    assert "in the end" == message.body


# Tail.


async def test_each_event_is_a_line(server: TestServer, shell: Shell) -> None:
    """As JSON of the wire, or as time, name and text; nothing commands a terminal."""
    top = (await account(server, "alice")).seq
    await server.chat.send(from_="bob", to="alice", body="hello")
    await server.chat.send(from_="bob", to="alice", body="\x1b[2J two\nlines ü")
    await server.chat.send(from_="bob", to="alice", body={"build": 7})
    since = ("tail", "--since", str(top), "--count", "3")

    plain = await shell.run(*since)
    events = [json.loads(each) for each in (await shell.run(*since, "--json")).out
              .splitlines()]  # fmt: skip
    told = [each.split(" ", 2)[2] for each in plain.out.splitlines()]

    assert ["message.new"] * 3 == [each["t"] for each in events]
    assert ["bob"] * 3 == [each["from"] for each in events]
    assert [top + 1, top + 2, top + 3] == [each["seq"] for each in events]
    assert ["hello", "\x1b[2J two\nlines ü", {"build": 7}] == [
        each["body"] for each in events
    ]
    assert [
        "bob: hello",
        r"bob: \x1b[2J two\nlines ü",
        'bob: {"build":7}',
    ] == told


async def test_a_tail_goes_on_after_the_server_was_away(
    server: TestServer, shell: Shell
) -> None:
    """What was said meanwhile comes, once; standard error says what happened."""
    async with tailing(server, shell, "alice", "--json") as tail:
        await server.chat.send(from_="bob", to="alice", body="before")
        before = json.loads(await tail.line())
        server.cut()
        complaint = await tail.complaint()
        await server.chat.send(from_="bob", to="alice", body="meanwhile")
        server.mend()
        meanwhile = json.loads(await tail.line())
        await server.chat.send(from_="bob", to="alice", body="after")
        after = json.loads(await tail.line())
        tail.signal(signal.SIGINT)
        done = await tail.ended()

    assert ["before", "meanwhile", "after"] == [
        each["body"] for each in (before, meanwhile, after)
    ]
    assert "chatmotor: the server is away; trying again" == complaint
    assert (130, "") == (done.status, done.out)
    assert "Traceback" not in done.err


async def test_a_closed_pipe_ends_a_tail_quietly(
    server: TestServer, shell: Shell
) -> None:
    """As with every command whose reader has seen enough."""
    top = (await account(server, "alice")).seq
    for number in range(3):
        await server.chat.send(from_="bob", to="alice", body=f"{number}")
    done = await shell.line(
        f"chatmotor tail --since {top} | head -n 1 | cut -d' ' -f3-"
    )

    assert (0, "bob: 0\n", "") == (done.status, done.out, done.err)


async def test_a_state_file_keeps_the_place(server: TestServer, shell: Shell) -> None:
    """From one run to the next: nothing is left out, and nothing comes twice."""
    state = str(shell.home / "place.db")
    begin = ("--json", "--state", state, "--count", "1")
    async with tailing(server, shell, "alice", *begin) as one:
        for text in ("one", "two", "three"):
            await server.chat.send(from_="bob", to="alice", body=text)
        first = await one.ended()
    rest = await shell.run("tail", "--json", "--state", state, "--count", "2")
    bodies = [json.loads(each)["body"] for each in (first.out + rest.out).splitlines()]

    assert ["one", "two", "three"] == bodies
    assert [0, 0] == [first.status, rest.status]


async def test_a_conversation_can_be_followed_alone(
    server: TestServer, shell: Shell
) -> None:
    """From a message on: what was said in it, and then what is said."""
    made: Any = await server.chat.call(
        "bob", "conv.create", cid="tea", title="Tea", members=["alice"]
    )
    conv = made.conv.conv
    for text in ("one", "two"):
        await server.chat.send(from_="bob", conv=conv, body=text)
    async with shell.running("tail", "--conv", conv, "--since", "1", "--json") as tail:
        two = json.loads(await tail.line())
        await server.chat.send(from_="bob", to="alice", body="elsewhere")
        await server.chat.send(from_="bob", conv=conv, body="three")
        three = json.loads(await tail.line())

    assert [("two", 2), ("three", 3)] == [
        (each["body"], each["n"]) for each in (two, three)
    ]


async def account(server: TestServer, username: str) -> Any:
    """The account as the store has it."""
    return await server.chat.node.accounts.profile(username)


@asynccontextmanager
async def tailing(
    server: TestServer, shell: Shell, username: str, *arguments: str
) -> AsyncIterator[Running]:
    """A tail that has come so far that it misses nothing."""
    roster = server.chat.node.roster
    before = set(roster.readers(username))
    async with shell.running("tail", *arguments) as tail:
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not set(roster.readers(username)) - before:
                await asyncio.sleep(0.01)
        yield tail
