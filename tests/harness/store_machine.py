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
from chatmotor.ports.store import (
    GroupLog,
    Mailbox,
    MemberChange,
    NewGroup,
    NewMessage,
    Store,
    direct_conv,
)
from tests.fakes.memory_store import MemoryStore

USERS = ("ann", "bob", "cyd", "dan")
GROUPS = ("g1", "g2")
CONVS = (*GROUPS, direct_conv(1, 2), direct_conv(2, 2), direct_conv(3, 4), "g9")

# Few of each, so that they meet again; "eve" has no account.
users = st.sampled_from((*USERS, "eve"))
some_users = st.frozensets(users, max_size=3)
convs = st.sampled_from(CONVS)
cids = st.integers(1, 40).map(str)
bodies = st.sampled_from((b'"one"', b'{"two": 2}', b"\x00\xff"))
numbers = st.integers(0, 12)
limits = st.integers(1, 6)
maybe = st.none() | numbers
messages = st.builds(
    NewMessage, sender=users, cid=cids, body=bodies, ts=numbers, to=users
) | st.builds(NewMessage, sender=users, cid=cids, body=bodies, ts=numbers, conv=convs)

Command = NewMessage | NewGroup | MemberChange


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
                expected = await self.model.add_account(user, ts=0)
                assert expected == await self.nodes[0].add_account(user, ts=0)

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
            group = NewGroup(conv, creator, cid, 1, members)
            self.same(lambda store: store.create_group(group))

        @rule(conv=convs, actor=users, cid=cids, add=some_users, remove=some_users)
        def change(
            self,
            conv: str,
            actor: str,
            cid: str,
            add: frozenset[str],
            remove: frozenset[str],
        ) -> None:
            change = MemberChange(conv, actor, cid, 1, add, remove - add)
            self.same(lambda store: store.change_members(change))

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

        @rule(conv=convs, reader=users, limit=limits, before=maybe, after=maybe)
        def history(
            self,
            conv: str,
            reader: str,
            limit: int,
            before: int | None,
            after: int | None,
        ) -> None:
            bounds = {"before": before} if before is not None else {"after": after}
            self.same(
                lambda store: store.history(conv, reader=reader, limit=limit, **bounds)
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
                    self.mailbox(user, 0, 1000)
                for conv in CONVS:
                    self.group_log(conv, None, 0, 1000)
                self.tops()
            finally:
                subject.end()

    return StoreMachine
