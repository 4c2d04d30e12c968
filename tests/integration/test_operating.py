# SPDX-License-Identifier: Apache-2.0
"""The ``chatmotor`` command beside live nodes, and where none runs; on both stores.

chatmotor user ... --admin.sock--> node --> store --> sockets, on every node
chatmotor user ... -------------------------> store       where no node runs
"""

import asyncio
import json
import os
import re
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from chatmotor.adapters.store_schema import MIGRATIONS, read_migrations
from tests.harness.node import DEADLINE_SECONDS, ROOT, ChatmotorNode
from tests.harness.postgres import PrivatePostgres, connected
from tests.harness.rabbitmq import PrivateRabbit
from tests.harness.v1_client import (
    PASSWORD,
    Login,
    Refused,
    acall,
    log_in,
    newcomer,
    sign_up,
)
from tests.integration.conftest import new_database, on_rabbit

OTHER_PASSWORD = "gravel-oak-77-wobble"
SCHEMA = len(read_migrations(MIGRATIONS / "sqlite"))
SOON_SECONDS = 2.0


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    status: int
    out: str
    err: str


async def command(
    options: dict[str, str], *arguments: str, stdin: str | None = None
) -> Done:
    """``chatmotor`` with *arguments*, as the operator types it."""
    inherited = {name: each for name, each in os.environ.items() if name[:3] != "CM_"}
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "chatmotor", *arguments],
        cwd=ROOT,
        env=inherited | options,
        input=stdin,
        stdin=None if stdin is not None else subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
    )
    assert "Traceback" not in done.stdout + done.stderr, done.stderr
    return Done(done.returncode, done.stdout, done.stderr)


async def ordered(
    options: dict[str, str], *arguments: str, stdin: str | None = None
) -> str:
    """What a command that must work has printed."""
    done = await command(options, *arguments, stdin=stdin)
    assert 0 == done.status, done.err
    return done.out


async def refused(options: dict[str, str], *arguments: str) -> str:
    """The one sentence with which a command must be refused, with status 2."""
    done = await command(options, *arguments)
    assert (2, "") == (done.status, done.out), done
    (sentence,) = done.err.splitlines()
    assert sentence.startswith("chatmotor: ")
    return sentence


async def listed(options: dict[str, str]) -> dict[str, dict[str, Any]]:
    """``user list --json``, by username."""
    found = json.loads(await ordered(options, "user", "list", "--json"))
    return {each["username"]: each for each in found}


@asynccontextmanager
async def serving(options: dict[str, str]) -> AsyncIterator[ChatmotorNode]:
    """A node with these options."""
    async with ChatmotorNode(**options) as node:
        yield node


def code_of(link: str) -> str:
    """The code in a one-time link."""
    return link.strip().partition("#")[2]


@pytest.fixture(params=["sqlite", "postgres"])
async def options(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """The options that nodes and commands have in common; the store is empty."""
    common = {"CM_BROKER": "embedded", "CM_DATA_DIR": str(tmp_path / "data")}
    if request.param == "postgres":
        postgres: PrivatePostgres = request.getfixturevalue("postgres")
        common |= await new_database(postgres)
    return common


@pytest.fixture
async def empty(postgres: PrivatePostgres, tmp_path: Path) -> dict[str, str]:
    """The options of a node on a database without tables."""
    return {
        "CM_BROKER": "embedded",
        "CM_DATA_DIR": str(tmp_path / "data"),
        "CM_STORE": "postgres",
        "CM_POSTGRES_DSN": await postgres.create_database(),
    }


# Accounts.


@pytest.mark.parametrize("live", [True, False], ids=["live node", "no node"])
async def test_accounts_are_made_and_listed(
    options: dict[str, str], *, live: bool
) -> None:
    """Through the node or on the store: the same commands, the same answers."""

    async def order() -> None:
        for arguments in (
            ("Ann", "--admin", "--display-name", "Ann Ä. 🦊"),
            ("bob",),
        ):
            out = await ordered(
                options,
                "user",
                "create",
                *arguments,
                "--password-stdin",
                stdin=PASSWORD,
            )
            assert f"made {arguments[0].lower()}\n" == out
        found = await listed(options)
        assert ["ann", "bob"] == sorted(found)
        assert ("Ann Ä. 🦊", True, False) == tuple(
            found["ann"][key] for key in ("display_name", "admin", "closed")
        )
        assert abs(found["bob"]["created"] - time.time() * 1000) < 60_000
        again = await refused(options, "user", "create", "bob", "--password-stdin")
        assert "password" in again

    if not live:
        await order()
    async with serving(options) as node:
        if live:
            await order()
        login = await log_in(node, "ann")
        async with login.connect(node) as session:
            shown = await session.ask("user.get", user="ann")
            assert "Ann Ä. 🦊" == shown["user"]["display_name"]


async def test_another_password_ends_every_session(options: dict[str, str]) -> None:
    """``user passwd``: the old one opens nothing any more, nor does an old token."""
    async with serving(options) as node:
        alice = await newcomer(node, "alice")
        async with alice.connect(node) as session:
            began = time.monotonic()
            await ordered(
                *(options, "user", "passwd", "alice", "--password-stdin"),
                stdin=OTHER_PASSWORD + "\n",
            )
            assert 4502 == await session.until_closed()
            assert time.monotonic() - began < SOON_SECONDS + 1
        with pytest.raises(Refused, match="unauthenticated"):
            await log_in(node, "alice")
        body = {"username": "alice", "password": OTHER_PASSWORD, "device": "phone"}
        assert (await acall(node, "/v1/tokens", body))["token"]


async def test_a_reset_link_works_once(options: dict[str, str]) -> None:
    """``user reset``: printed alone, so that a script can take it."""
    async with serving(options) as node:
        alice = await newcomer(node, "alice")
        link = await ordered(options, "user", "reset", "alice")
        assert re.fullmatch(rf"{node.url}/reset#[\w-]{{43}}\n", link)
        body = {"code": code_of(link), "password": OTHER_PASSWORD}
        async with alice.connect(node) as session:
            await acall(node, "/v1/password/reset", body)
            assert 4502 == await session.until_closed()
        with pytest.raises(Refused, match="forbidden"):
            await acall(node, "/v1/password/reset", body)
        with pytest.raises(Refused, match="unauthenticated"):
            await log_in(node, "alice")


async def test_deactivation_closes_live_sockets(options: dict[str, str]) -> None:
    """v1 and classic within 2 s, with 4504; nobody gets in until ``activate``."""
    async with serving(options) as node:
        alice = await newcomer(node, "alice")
        bob = await newcomer(node, "bob")
        header = {"Authorization": f"Bearer {alice.token}"}
        async with (
            alice.connect(node) as session,
            node.connect("alice", additional_headers=header) as classic,
            bob.connect(node) as other,
        ):
            ended = asyncio.create_task(session.until_closed())
            await ordered(options, "user", "deactivate", "alice")
            began = time.monotonic()
            assert 4504 == await ended
            await classic.wait_closed()
            assert time.monotonic() - began < SOON_SECONDS
            assert 4504 == classic.close_code
            with pytest.raises(Refused, match="forbidden"):
                await other.ask("send", cid="1", to="alice", body="are you there?")
        with pytest.raises(Refused) as closed:
            await log_in(node, "alice")
        assert "suspended" == closed.value.code
        assert (await listed(options))["alice"]["closed"]
        await ordered(options, "user", "activate", "alice")
        again = await log_in(node, "alice")
        async with again.connect(node) as session:
            await session.ask("send", cid="1", to="bob", body="back")


async def test_deactivation_reaches_every_node(
    rabbit: PrivateRabbit, postgres: PrivatePostgres, tmp_path: Path
) -> None:
    """Told to one node, it holds on the other within 2 s as well."""
    store = await new_database(postgres)
    one = store | {"CM_DATA_DIR": str(tmp_path / "one")}
    async with on_rabbit(rabbit, **one) as left, on_rabbit(rabbit, **store) as right:
        await left.until_broker_is("connected")
        await right.until_broker_is("connected")
        alice = await newcomer(left, "alice")
        async with alice.connect(left) as near, alice.connect(right) as far:
            await near.live()
            await far.live()
            await far.ask("sync")
            await ordered(one, "user", "deactivate", "alice")
            began = time.monotonic()
            assert [4504, 4504] == [await near.until_closed(), await far.until_closed()]
            assert time.monotonic() - began < SOON_SECONDS


async def test_a_command_on_the_store_alone_holds_after_the_check(
    postgres: PrivatePostgres, tmp_path: Path
) -> None:
    """From another machine no node is asked; the check of positions finds out."""
    store = await new_database(postgres) | {"CM_BROKER": "embedded"}
    elsewhere = store | {"CM_DATA_DIR": str(tmp_path / "elsewhere")}
    async with ChatmotorNode(CM_POSITION_CHECK_SECONDS="0.5", **store) as node:
        alice = await newcomer(node, "alice")
        async with alice.connect(node) as session:
            await ordered(elsewhere, "user", "deactivate", "alice")
            assert 4504 == await session.until_closed()


async def test_devices_are_listed_and_revoked(options: dict[str, str]) -> None:
    """One device goes, the other one stays."""
    async with serving(options) as node:
        phone = await newcomer(node, "alice", "phone")
        laptop = await log_in(node, "alice", "laptop")
        async with phone.connect(node) as kept, laptop.connect(node) as session:
            out = await ordered(options, "user", "devices", "alice")
            assert ["laptop", "phone"] == [
                row.split("\t")[0] for row in out.splitlines()
            ]
            await ordered(options, "user", "revoke", "alice", "laptop")
            assert 4502 == await session.until_closed()
            await kept.ask("ping")
        out = await ordered(options, "user", "devices", "alice")
        assert ["phone"] == [row.split("\t")[0] for row in out.splitlines()]
        assert "no device" in await refused(
            options, "user", "revoke", "alice", "laptop"
        )


# Who may sign up.


async def test_sign_up_by_invitation(options: dict[str, str]) -> None:
    """As many people as the invitation has uses, and nobody without one."""
    options["CM_SIGN_UP"] = "invite"
    early = code_of(await ordered(options, "invite", "create"))
    async with serving(options) as node:
        link = await ordered(options, "invite", "create", "--uses", "2")
        assert link.startswith(f"{node.url}/invite#")

        async def join(username: str, code: str | None) -> None:
            body = {"username": username, "password": PASSWORD, "invite": code}
            await acall(node, "/v1/accounts", body)

        for code in (None, "", "wrong"):
            with pytest.raises(Refused) as refusal:
                await join("norman", code)
            assert (403, "forbidden") == (refusal.value.status, refusal.value.code)
        await join("ann", code_of(link))
        with pytest.raises(Refused, match="conflict"):
            await join("ann", code_of(link))  # costs no use
        await join("bob", code_of(link))
        with pytest.raises(Refused, match="forbidden"):
            await join("cyd", code_of(link))
        await join("cyd", early)
        assert ["ann", "bob", "cyd"] == sorted(await listed(options))


async def test_the_last_use_of_an_invitation_is_for_one(
    options: dict[str, str],
) -> None:
    """However many try at once."""
    options["CM_SIGN_UP"] = "invite"
    async with serving(options) as node:
        code = code_of(await ordered(options, "invite", "create"))

        async def join(number: int) -> str:
            body = {"username": f"u{number}", "password": PASSWORD, "invite": code}
            try:
                await acall(node, "/v1/accounts", body)
            except Refused as refusal:
                return refusal.code
            return "joined"

        answers = await asyncio.gather(*(join(number) for number in range(8)))

        assert ["forbidden"] * 7 + ["joined"] == sorted(answers)
        assert 1 == len(await listed(options))


async def test_closed_sign_up(options: dict[str, str]) -> None:
    """Only the operator makes accounts, and an invitation would open nothing."""
    options["CM_SIGN_UP"] = "closed"
    async with serving(options) as node:
        with pytest.raises(Refused) as refusal:
            await sign_up(node, "ann")
        assert (403, "forbidden") == (refusal.value.status, refusal.value.code)
        assert "SIGN_UP" in await refused(options, "invite", "create")
        await ordered(
            options, "user", "create", "ann", "--password-stdin", stdin=PASSWORD
        )
        assert (await log_in(node, "ann")).token


# The first administrator.


async def test_the_first_administrator(options: dict[str, str]) -> None:
    """The link that ``serve`` prints works once, and the next start prints none."""
    body = {"username": "root1", "password": PASSWORD, "display_name": "Root"}
    async with serving(options) as node:
        first = code_of(await node.line())
    async with serving(options) as node:
        line = await node.line()
        assert re.search(rf"{node.url}/setup#[\w-]{{43}}$", line)
        assert "administrator" in line
        with pytest.raises(Refused, match="forbidden"):  # the next start has ended it
            await acall(node, "/v1/setup", body | {"code": first})
        status, page = await node.get("/setup")
        assert (200, True) == (status, "<form" in page)
        made = await acall(node, "/v1/setup", body | {"code": code_of(line)})
        assert {"username": "root1", "display_name": "Root"} == made["user"]
        again = body | {"code": code_of(line), "username": "root2"}
        with pytest.raises(Refused, match="forbidden"):
            await acall(node, "/v1/setup", again)
        root = await log_in(node, "root1")
        found = await acall(node, "/v1/admin/accounts", token=root.token, method="GET")
        assert [("root1", True)] == [
            (each["username"], each["admin"]) for each in found["items"]
        ]
    async with serving(options) as node:
        assert 0 == await node.stop()
        assert "" == await node.line()


# The store.


async def test_the_state_of_the_schema(options: dict[str, str]) -> None:
    """``db status``, before the first start, beside a live node and after it."""
    store = options.get("CM_STORE", "sqlite")
    new = 0 if store == "sqlite" else SCHEMA
    out = await ordered(options, "db", "status")
    assert out.startswith(f"{store}: schema {new} of {SCHEMA}")
    async with serving(options):
        for _ in range(2):
            out = await ordered(options, "db", "status")
            assert f"{store}: schema {SCHEMA} of {SCHEMA}, up to date\n" == out


async def test_an_empty_database_is_upgraded_first(empty: dict[str, str]) -> None:
    """PostgreSQL's schema is the operator's: ``serve`` and the commands say so."""
    assert "new" in await ordered(empty, "db", "status")
    for arguments in (("serve",), ("user", "list"), ("invite", "create")):
        sentence = await refused(empty, *arguments)
        assert re.search("schema.* is 0.*upgrade", sentence), sentence
    assert f"schema {SCHEMA}\n" == await ordered(empty, "db", "upgrade")
    assert f"schema {SCHEMA}\n" == await ordered(empty, "db", "upgrade")
    async with serving(empty) as node:
        await newcomer(node, "ann")


async def test_a_newer_schema_is_refused(options: dict[str, str]) -> None:
    """Whatever a newer Chatmotor has written, this one does not touch."""
    await ordered(options, "user", "create", "ann", "--password-stdin", stdin=PASSWORD)
    insert = f"INSERT INTO schema_version VALUES ({SCHEMA + 1})"  # noqa: S608  # ours
    if "CM_POSTGRES_DSN" in options:
        async with connected(options["CM_POSTGRES_DSN"]) as database:
            await database.execute(insert)
    else:
        path = Path(options["CM_DATA_DIR"]) / "chatmotor.db"
        with closing(sqlite3.connect(path)) as file, file:
            file.execute(insert)
    for arguments in (("serve",), ("user", "list"), ("db", "new-epoch")):
        sentence = await refused(options, *arguments)
        assert "newer Chatmotor" in sentence
    if "CM_POSTGRES_DSN" in options:
        assert "newer Chatmotor" in await refused(options, "db", "upgrade")


async def test_a_new_epoch_makes_clients_sync(options: dict[str, str]) -> None:
    """Refused while a node runs; after it, a position of before is worth nothing."""
    async with serving(options) as node:
        alice = await newcomer(node, "alice")
        async with alice.connect(node) as session:
            await session.ask("send", cid="1", to="alice", body="a note")
            await session.messages(1)
            old = {"epoch": session.welcome["epoch"], "seq": session.seq}
        assert "stop every node" in await refused(options, "db", "new-epoch")
    epoch = (await ordered(options, "db", "new-epoch")).split()[1]
    assert epoch != old["epoch"]
    async with serving(options) as node:
        async with alice.connect(node, resume=old) as session:
            welcome = session.welcome
            assert (False, "epoch", 0) == tuple(
                welcome[key] for key in ("resumed", "reason", "replay")
            )
            found = await session.ask("sync")
            assert {"epoch": epoch, "seq": old["seq"]} == found["at"]
            assert ["a note"] == [each["last"]["body"] for each in found["convs"]]
        async with alice.connect(node, resume=found["at"]) as session:
            assert session.welcome["resumed"]


# Two hands on one data directory.


async def test_the_socket_is_the_operators_alone(options: dict[str, str]) -> None:
    """Mode 0600 in a directory of mode 0700, and gone with the node."""
    path = Path(options["CM_DATA_DIR"]) / "admin.sock"
    async with serving(options):
        assert 0o600 == stat.S_IMODE(path.stat().st_mode)
        assert 0o700 == stat.S_IMODE(path.parent.stat().st_mode)
    assert not path.exists()


async def test_a_killed_node_leaves_a_socket_that_stops_nobody(
    options: dict[str, str],
) -> None:
    """The commands then work on the store, and the next node takes its place."""
    async with serving(options) as node:
        await newcomer(node, "ann")
        await node.kill()
        assert (Path(options["CM_DATA_DIR"]) / "admin.sock").exists()
        assert ["ann"] == list(await listed(options))
    async with serving(options) as node:
        assert ["ann"] == list(await listed(options))


async def test_sqlite_never_has_two_writers(tmp_path: Path) -> None:
    """A second node, or a command that finds no socket, is refused in words."""
    options = {"CM_BROKER": "embedded", "CM_DATA_DIR": str(tmp_path)}
    async with serving(options) as node:
        await newcomer(node, "ann")
        assert "use" in await refused(
            options | {"CM_TORNADO_LISTEN_PORT": "0"}, "serve"
        )
        (tmp_path / "admin.sock").unlink()
        for arguments in (("user", "list"), ("db", "new-epoch")):
            assert "use" in await refused(options, *arguments)
        await log_in(node, "ann", "tablet")


async def test_many_commands_at_once(options: dict[str, str]) -> None:
    """Each has its answer, and the live sessions theirs."""
    async with serving(options) as node:
        alice: Login = await newcomer(node, "alice")
        async with alice.connect(node) as session:
            made = asyncio.gather(
                *(
                    ordered(
                        *(options, "user", "create", f"u{n}", "--password-stdin"),
                        stdin=PASSWORD,
                    )
                    for n in range(6)
                )
            )
            while not made.done():
                async with asyncio.timeout(SOON_SECONDS):
                    await session.ask("ping")
                await asyncio.sleep(0.02)
            assert [f"made u{n}\n" for n in range(6)] == await made
        assert 7 == len(await listed(options))
