# SPDX-License-Identifier: Apache-2.0
"""The part of the fake store that is about hooks."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from chatmotor.errors import (
    Conflict,
    Forbidden,
    NoSuchConv,
    NoSuchHook,
    NotMember,
    QuotaExceeded,
)
from chatmotor.ports.accounts import Account, AccountChange
from chatmotor.ports.hooks import (
    MAX_INCOMING,
    Hook,
    HookChange,
    HookKind,
    Incoming,
    NewHook,
    NewIncoming,
    Progress,
)
from chatmotor.ports.messages import Logged, Role
from tests.fakes.memory_reads import MemoryReads


@dataclass
class _Row:
    """A hook, its places, and who has its lease until when."""

    hook: Hook
    places: dict[str, int] = field(default_factory=dict)
    owner: str = ""
    lease: int = 0


class MemoryHooks(MemoryReads):
    """See the module."""

    def __init__(self) -> None:
        super().__init__()
        self._hooks: dict[str, _Row] = {}
        self._incoming: dict[bytes, Incoming] = {}

    async def add_hook(self, new: NewHook) -> Hook:
        self._check_open()
        account = self._account(new.username)
        if new.conv is not None:
            self._talk_of(new.username, new.conv)
        kinds = {
            row.hook.kind
            for row in self._hooks.values()
            if row.hook.username == new.username
        }
        if new.kind is HookKind.AMQP and new.kind in kinds:
            raise Conflict("there is one")
        hook = Hook(
            *(new.id, new.username, account.closed, new.kind, new.ts, new.url),
            *(new.secret, "", 0, new.types, new.conv),
            *(True, 1, account.seq),
        )
        places = {
            conv: len(talk.log)
            for conv, talk in self._talks.items()
            if talk.group
            and new.username in talk.here()
            and new.conv in {None, talk.conv}
        }
        self._hooks[new.id] = _Row(hook, places)
        return self._shown(self._hooks[new.id])

    async def hook(self, id_: str) -> Hook:
        self._check_open()
        return self._shown(self._row(id_))

    async def hooks(self, *, after: str, limit: int) -> tuple[Hook, ...]:
        self._check_open()
        found = [self._shown(row) for id_, row in sorted(self._hooks.items())]
        return tuple([hook for hook in found if hook.id > after][:limit])

    async def change_hook(self, change: HookChange) -> Hook:
        self._check_open()
        row = self._row(change.id)
        if change.resume:
            row.hook = replace(row.hook, on=True, failures=0, failing_since=None)
            row.hook = replace(row.hook, next_try=0, error="")
        if change.secret is not None:
            row.hook = replace(
                row.hook,
                secret=change.secret,
                old_secret=row.hook.secret,
                old_until=change.old_until,
            )
        row.hook = replace(row.hook, revision=row.hook.revision + 1)
        return self._shown(row)

    async def remove_hook(self, id_: str) -> None:
        self._check_open()
        self._row(id_)
        del self._hooks[id_]

    async def lease_hooks(
        self, owner: str, kinds: Collection[HookKind], *, now: int, until: int
    ) -> tuple[Hook, ...]:
        self._check_open()
        leased = []
        for _, row in sorted(self._hooks.items()):
            hook = row.hook
            free = row.owner == owner or row.lease <= now
            closed = self._account(hook.username).closed
            if hook.on and hook.kind in kinds and free and not closed:
                row.owner, row.lease = owner, until
                leased.append(hook)
        return tuple(leased)

    async def release_hooks(self, owner: str) -> None:
        self._check_open()
        for row in self._hooks.values():
            if row.owner == owner:
                row.owner, row.lease = "", 0

    async def hook_positions(self, id_: str) -> Mapping[str, int]:
        self._check_open()
        return dict(self._hooks[id_].places) if id_ in self._hooks else {}

    async def save_progress(self, progress: Progress) -> bool:
        self._check_open()
        row = self._hooks.get(progress.id)
        if row is None or row.owner != progress.owner or not row.hook.on:
            return False
        row.hook = replace(
            row.hook,
            seq=progress.seq,
            on=progress.on,
            failures=progress.failures,
            failing_since=progress.failing_since,
            next_try=progress.next_try,
            error=progress.error,
        )
        row.places |= progress.positions
        return True

    async def add_incoming(self, new: NewIncoming) -> Incoming:
        self._check_open()
        self._account(new.username)
        self._check_role(new.username, new.conv)
        if len(self._of_conv(new.conv)) >= MAX_INCOMING:
            raise QuotaExceeded("too many")
        made = Incoming(new.id, new.username, new.conv, new.name, new.ts)
        self._incoming[new.code] = made
        return made

    async def incoming(self, conv: str, *, reader: str) -> tuple[Incoming, ...]:
        self._check_open()
        self._account(reader)
        self._check_role(reader, conv)
        return tuple(sorted(self._of_conv(conv), key=lambda each: each.id))

    async def remove_incoming(self, id_: str, *, actor: str) -> None:
        self._check_open()
        found = [code for code, each in self._incoming.items() if each.id == id_]
        if not found:
            raise NoSuchHook("none")
        try:
            self._check_role(actor, self._incoming[found[0]].conv)
        except (NoSuchConv, NotMember):
            raise NoSuchHook("none") from None
        del self._incoming[found[0]]

    async def incoming_by_code(self, code: bytes) -> tuple[Incoming, Account] | None:
        self._check_open()
        found = self._incoming.get(code)
        return None if found is None else (found, self._account(found.username))

    async def change_account(self, change: AccountChange) -> tuple[Logged, ...]:
        logged = await super().change_account(change)
        if change.closed:
            self._end_incoming(change.username)
        return logged

    def _end_incoming(self, username: str, conv: str | None = None) -> None:
        """Of an account that is closed, or leaves *conv*."""
        self._incoming = {
            code: each
            for code, each in self._incoming.items()
            if each.username != username or conv not in {None, each.conv}
        }

    def _of_conv(self, conv: str) -> list[Incoming]:
        return [each for each in self._incoming.values() if each.conv == conv]

    def _check_role(self, username: str, conv: str) -> None:
        talk = self._talk_of(username, conv)
        if talk.guest is not None:
            raise Forbidden("a guest")
        if talk.group and talk.members[username].role is Role.MEMBER:
            raise Forbidden("not your role")

    def _row(self, id_: str) -> _Row:
        if id_ not in self._hooks:
            raise NoSuchHook("none")
        return self._hooks[id_]

    def _shown(self, row: _Row) -> Hook:
        account = self._account(row.hook.username)
        behind = account.seq - row.hook.seq
        for conv, pos in row.places.items():
            talk = self._talks.get(conv)
            if talk is not None and account.username in talk.here():
                behind += len(talk.log) - pos
        return replace(row.hook, closed=account.closed, behind=behind)
