# SPDX-License-Identifier: Apache-2.0
"""Random writes and reads, on a store and on plain lists, which must agree.

Each rule does the same to both and compares the answers, refusals included.  Writes
are also begun together, without waiting, which must be as if they had waited.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from chatmotor.errors import RequestRefused
from chatmotor.ports.accounts import AccountChange, NewToken
from chatmotor.ports.messages import (
    GroupLog,
    GuestMessage,
    Mailbox,
    MemberChange,
    NewGroup,
    NewMessage,
    Role,
    direct_conv,
    guest_conv,
)
from chatmotor.ports.store import Store
from tests.fakes.memory_store import MemoryStore
from tests.harness.stores import add_account, set_role

USERS = ("ann", "bob", "cyd", "dan")
GROUPS = ("g1", "g2")
GUEST = "gus"
DIRECT = (direct_conv(1, 2), direct_conv(2, 2), direct_conv(3, 4))
CONVS = (*GROUPS, *DIRECT, guest_conv(1, GUEST), "g9")

# Few of each, so that they meet again; "eve" has no account.
users = st.sampled_from((*USERS, "eve"))
some_users = st.frozensets(users, max_size=3)
convs = st.sampled_from(CONVS)
cids = st.integers(1, 40).map(str)
bodies = st.sampled_from((b'"one"', b'{"two": 2}', b"\x00\xff"))
numbers = st.integers(0, 12)
limits = st.integers(1, 6)
maybe = st.none() | numbers
what = {"sender": users, "cid": cids, "body": bodies, "ts": numbers}
messages = st.builds(NewMessage, **what, to=users) | st.builds(
    NewMessage, **what, conv=convs, reply_to=maybe
)
guest_messages = st.builds(
    GuestMessage, guest=st.just(GUEST), to=users, body=bodies, ts=numbers
)

changes = st.builds(
    lambda conv, actor, cid, ts, add, remove: MemberChange(
        conv, actor, cid, ts, add, remove - add, max_members=4
    ),
    conv=convs,
    actor=users,
    cid=cids,
    ts=numbers,
    add=some_users,
    remove=some_users,
)


class Subject(Protocol):
    """A store under test, in pieces that a synchronous machine can use."""

    loop: asyncio.AbstractEventLoop

    def fresh(self) -> Sequence[Store]:
        """The nodes of a new, empty store: one or two, started."""

    def end(self) -> None:
        """Stop them."""


async def outcome(awaitable: Awaitable[Any]) -> Any:
    """The answer, or which refusal."""
    try:
        return await awaitable
    except RequestRefused as refused:
        return type(refused), refused.code


def machine(subject: Subject) -> type[RuleBasedStateMachine]:  # noqa: C901  # rules
    """The machine that drives *subject*."""

    class StoreMachine(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.nodes = subject.fresh()
            self.model = MemoryStore()
            self.turn = 0
            self.run(self._begin())

        def run(self, awaitable: Awaitable[Any]) -> Any:
            return subject.loop.run_until_complete(awaitable)

        async def _begin(self) -> None:
            await self.model.start()
            for user in USERS:
                expected = await add_account(self.model, user)
                assert expected == await add_account(self.nodes[0], user)
                for store in (self.model, self.nodes[0]):
                    token = NewToken(user, "phone", user.encode(), 1, 1000)
                    await store.add_token(token)

        def same(self, ask: Callable[[Store], Awaitable[Any]]) -> None:
            """Another node each time, and the same answer as from the lists."""
            self.turn += 1
            node = self.nodes[self.turn % len(self.nodes)]
            expected = self.run(outcome(ask(self.model)))
            assert expected == self.run(outcome(ask(node)))

        @rule(message=messages)
        def send(self, message: NewMessage) -> None:
            self.same(lambda store: store.send(message))

        @rule(several=st.lists(messages, min_size=2, max_size=8))
        def send_together(self, several: list[NewMessage]) -> None:
            node = self.nodes[0]

            async def together() -> list[Any]:
                return await asyncio.gather(
                    *(outcome(node.send(each)) for each in several)
                )

            expected = [self.run(outcome(self.model.send(each))) for each in several]
            assert expected == self.run(together())

        @rule(creator=users, cid=cids, members=some_users, conv=st.sampled_from(GROUPS))
        def create(
            self, creator: str, cid: str, members: frozenset[str], conv: str
        ) -> None:
            group = NewGroup(conv, creator, cid, 1, members, "Tea", max_members=3)
            self.same(lambda store: store.create_group(group))

        @rule(change=changes)
        def change(self, change: MemberChange) -> None:
            self.same(lambda store: store.change_members(change))

        @rule(conv=st.sampled_from(GROUPS), user=users, role=st.sampled_from(Role))
        def give_role(self, conv: str, user: str, role: Role) -> None:
            self.same(lambda store: set_role(store, user, role, conv=conv))

        @rule(message=guest_messages)
        def send_from_guest(self, message: GuestMessage) -> None:
            self.same(lambda store: store.send_from_guest(message))

        @rule(user=users, conv=convs, n=numbers, ts=numbers)
        def mark_read(self, user: str, conv: str, n: int, ts: int) -> None:
            self.same(lambda store: store.mark_read(user, conv, n, ts=ts))

        @rule(user=users, cursor=numbers)
        def acknowledge(self, user: str, cursor: int) -> None:
            cursors = {(user, "phone"): cursor}
            self.same(lambda store: store.save_cursors(cursors, now=2))

        @rule(user=users, closed=st.sampled_from((False, False, True)))
        def close(self, user: str, closed: bool) -> None:
            change = AccountChange(user, ts=1, closed=closed)
            self.same(lambda store: store.change_account(change))

        @rule(before=st.integers(0, 3))
        def trim(self, before: int) -> None:
            self.same(lambda store: store.trim(before=before))

        @rule(user=users, since=numbers, limit=limits)
        def mailbox(self, user: str, since: int, limit: int) -> None:
            log = Mailbox(user)
            self.same(lambda store: store.events(log, since=since, limit=limit))

        @rule(conv=convs, reader=st.none() | users, since=numbers, limit=limits)
        def group_log(
            self, conv: str, reader: str | None, since: int, limit: int
        ) -> None:
            log = GroupLog(conv, reader)
            self.same(lambda store: store.events(log, since=since, limit=limit))

        @rule(
            conv=convs,
            reader=users,
            limit=limits,
            bound=st.sampled_from(("before", "after", "around")),
            n=maybe,
        )
        def history(
            self, conv: str, reader: str, limit: int, bound: str, n: int | None
        ) -> None:
            self.same(
                lambda store: store.history(
                    conv, reader=reader, limit=limit, **{bound: n}
                )
            )

        @rule(user=users, after=st.just("") | convs, limit=limits)
        def conversations(self, user: str, after: str, limit: int) -> None:
            self.same(lambda store: store.conversations(user, after=after, limit=limit))
            self.same(lambda store: store.standings(user))

        @rule(conv=convs, reader=users, after=st.just("") | users, limit=limits)
        def one_conversation(
            self, conv: str, reader: str, after: str, limit: int
        ) -> None:
            self.same(lambda store: store.conversation(conv, reader=reader))
            self.same(
                lambda store: store.members(
                    conv, reader=reader, after=after, limit=limit
                )
            )

        @rule()
        def tops(self) -> None:
            self.same(lambda store: store.tops((*USERS, "eve"), CONVS))

        @rule()
        def restart(self) -> None:
            for node in self.nodes:
                self.run(node.stop())
                self.run(node.start())

        def teardown(self) -> None:
            try:
                for user in USERS:
                    floor = self.run(self.model.account(user)).floor
                    self.mailbox(user, floor, 1000)
                    self.conversations(user, "", 1000)
                for conv in CONVS:
                    self.group_log(conv, None, 0, 1000)
                self.tops()
            finally:
                subject.end()

    return StoreMachine
