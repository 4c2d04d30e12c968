# SPDX-License-Identifier: Apache-2.0
"""What only the PostgreSQL store does: refusals at start, commits in doubt."""

import asyncio

import pytest

from chatmotor.adapters import sql_account_rows
from chatmotor.adapters.postgres_store import PostgresStore
from chatmotor.adapters.sql_script import Script
from chatmotor.errors import Forbidden, OperatorError, OutcomeUnknown
from chatmotor.ports.messages import (
    GroupLog,
    GuestMessage,
    Mailbox,
    NewGroup,
    NewMessage,
)
from tests.harness.postgres import CommitCutter, PrivatePostgres, connected
from tests.harness.stores import GROUP, add_account, new_group, whole

TEN_THOUSAND_ACCOUNTS = """
INSERT INTO account (username, display_name, admin, closed, seq, floor, ts)
SELECT 'user' || x, '', 0, 0, 0, 0, 1 FROM generate_series(1, 10000) x
"""
NEW = NewMessage("ann", "1", b"1", 1, to="bob")


async def _prepared(postgres: PrivatePostgres) -> str:
    """The dsn of a database with ann and bob."""
    dsn = await postgres.create_database()
    store = PostgresStore(dsn)
    assert 2 == await store.upgrade()
    await store.start()
    for username in ("ann", "bob"):
        await add_account(store, username)
    await store.stop()
    return dsn


async def test_a_server_that_may_forget_is_refused(postgres: PrivatePostgres) -> None:
    """synchronous_commit = off would acknowledge what is not on disk."""
    dsn = await _prepared(postgres)
    async with connected(dsn) as connection:
        name = dsn.rpartition("/")[2]
        await connection.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")

    with pytest.raises(OperatorError, match="synchronous_commit = off"):
        await PostgresStore(dsn).start()


async def test_a_server_without_fsync_is_refused() -> None:
    """Fsync = off would lose everything with the power."""
    with PrivatePostgres("fsync = off") as server:
        with pytest.raises(OperatorError, match="fsync = off"):
            await PostgresStore(server.dsn()).start()


async def test_a_schema_of_another_version_is_refused(
    postgres: PrivatePostgres,
) -> None:
    """An old one is the operator's to upgrade; a new one is for a newer program."""
    dsn = await postgres.create_database()
    store = PostgresStore(dsn)
    with pytest.raises(OperatorError, match="is 0, and this Chatmotor needs 2"):
        await store.start()
    assert [2, 2] == list(await asyncio.gather(store.upgrade(), store.upgrade()))
    async with connected(dsn) as connection:
        await connection.execute("INSERT INTO schema_version VALUES (99)")

    for attempt in (store.start, store.upgrade):
        with pytest.raises(OperatorError, match="newer Chatmotor: its schema is 99"):
            await attempt()


async def test_a_server_that_is_not_there_is_said_in_words(
    postgres: PrivatePostgres,
) -> None:
    """A wrong port and a wrong database are sentences for the operator."""
    for dsn in (postgres.dsn(port=1), postgres.dsn("nowhere")):
        with pytest.raises(OperatorError, match=r"PostgreSQL (cannot|refuses)"):
            await PostgresStore(dsn).start()


@pytest.mark.parametrize("cut", ["before", "after"])
async def test_a_commit_in_doubt_is_resolved(
    postgres: PrivatePostgres, cut: str
) -> None:
    """
    The connection breaks as COMMIT passes: the sender is told the truth, once, and
    the message is there once, whether the server had committed or not.
    """
    dsn = await _prepared(postgres)
    async with CommitCutter(postgres.port) as cutter:
        store = PostgresStore(postgres.dsn(dsn.rpartition("/")[2], port=cutter.port))
        await store.start()
        cutter.cut = cut
        sends = [NewMessage("ann", str(x), b"1", 1, to="bob") for x in range(5)]

        answers = await asyncio.gather(*(store.send(each) for each in sends))

        assert 1 == cutter.cuts
        assert [1, 2, 3, 4, 5] == [each.n for each in answers]
        assert {False} == {each.dup for each in answers}
        assert 5 == len(await whole(store, Mailbox("bob")))
        await store.stop()


async def test_a_commit_that_stays_in_doubt_is_not_called_failed(
    postgres: PrivatePostgres,
) -> None:
    """Nobody there to ask: OutcomeUnknown, not an error; later the cid tells."""
    dsn = await _prepared(postgres)
    async with CommitCutter(postgres.port) as cutter:
        where = postgres.dsn(dsn.rpartition("/")[2], port=cutter.port)
        store = PostgresStore(where, patience_seconds=0)
        await store.start()
        cutter.cut = "after"

        with pytest.raises(OutcomeUnknown):
            await store.send(NEW)

        again = await store.send(NEW)
        assert (1, True) == (again.n, again.dup)
        await store.stop()


@pytest.mark.parametrize("cut", ["before", "after"])
async def test_a_group_in_doubt_is_resolved(
    postgres: PrivatePostgres, cut: str
) -> None:
    """What has a cid is done once more, and finds what it has written itself."""
    dsn = await _prepared(postgres)
    async with CommitCutter(postgres.port) as cutter:
        store = PostgresStore(postgres.dsn(dsn.rpartition("/")[2], port=cutter.port))
        await store.start()
        cutter.cut = cut

        created = await store.create_group(new_group("bob"))

        assert 1 == cutter.cuts
        assert (1, 1, False) == (created.pos, created.revision, created.dup)
        assert 1 == len(await whole(store, GroupLog(GROUP, None)))
        assert 1 == len(await whole(store, Mailbox("bob")))
        await store.stop()


async def test_a_server_that_only_reads_is_away(postgres: PrivatePostgres) -> None:
    """
    A connection to a primary that is one no more is dropped; the write is done on a
    new one, and nobody hears of it.
    """
    store = PostgresStore(await _prepared(postgres))
    await store.start()
    sent = await store.send(NEW)
    assert store._writer is not None
    assert store._pool is not None
    demoted = [store._writer._connection, *store._pool._free]
    assert 2 == len(demoted)
    for connection in demoted:
        await connection.execute("SET default_transaction_read_only = on")

    second = await store.send(NewMessage("ann", "2", b"1", 1, to="bob"))
    moved = await store.mark_read("bob", sent.conv, 1, ts=1)

    assert (2, False) == (second.n, second.dup)
    assert moved is not None
    assert all(each.is_closed() for each in demoted)
    await store.stop()


async def test_an_admin_is_found_by_an_index(postgres: PrivatePostgres) -> None:
    """Whether there is one is asked before anybody has logged in."""
    async with connected(await _prepared(postgres)) as connection:
        await connection.execute("SET enable_seqscan = off")
        plan = await connection.fetch(f"EXPLAIN {sql_account_rows._OPEN_ADMIN}")
    assert any("account_admin" in line for (line,) in plan)


async def test_what_has_no_cid_stays_in_doubt(postgres: PrivatePostgres) -> None:
    """A guest's text is not written twice to find out whether it was written."""
    dsn = await _prepared(postgres)
    async with CommitCutter(postgres.port) as cutter:
        store = PostgresStore(postgres.dsn(dsn.rpartition("/")[2], port=cutter.port))
        await store.start()
        cutter.cut = "after"

        with pytest.raises(OutcomeUnknown):
            await store.send_from_guest(GuestMessage("gus", "bob", b"x", 1))

        assert 1 == len(await whole(store, Mailbox("bob")))
        await store.stop()


async def test_a_refused_script_leaves_no_trace(postgres: PrivatePostgres) -> None:
    """Also when it has written before it refused, which it should not."""
    store = PostgresStore(await _prepared(postgres))
    await store.start()

    def write_and_refuse() -> Script[None]:
        yield ("UPDATE account SET seq = seq + 1",)
        raise Forbidden("no")

    with pytest.raises(Forbidden):
        await store._transact(write_and_refuse)

    assert 0 == (await store.account("ann")).seq
    await store.stop()


async def test_the_schema_can_be_asked_for_before_start(
    postgres: PrivatePostgres,
) -> None:
    """Found and needed: what ``chatmotor db status`` says."""
    store = PostgresStore(await postgres.create_database())
    assert (0, 2) == await store.schema()

    await store.upgrade()

    assert (2, 2) == await store.schema()


async def test_a_group_of_ten_thousand(postgres: PrivatePostgres) -> None:
    """It is a few statements, however many members there are: seconds, not minutes."""
    store = PostgresStore(await postgres.create_database())
    await store.upgrade()
    await store.start()

    def accounts() -> Script[None]:
        yield (TEN_THOUSAND_ACCOUNTS,)

    await store._transact(accounts)
    members = frozenset(f"user{each}" for each in range(1, 10_001))

    async with asyncio.timeout(5):
        created = await store.create_group(
            NewGroup(GROUP, "user1", "create", 1, members)
        )

    assert 10_000 == len(created.logged[1].seqs)
    seen = await store.conversation(GROUP, reader="user10000")
    assert 10_000 == seen.members
    await store.stop()
