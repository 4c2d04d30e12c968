# SPDX-License-Identifier: Apache-2.0
"""The store as plain lists: what the SQL stores are compared with.

It keeps every promise of ``ports/store.py`` but durability: all is lost with the
object, not with ``stop``.  Accounts, tokens and gates: memory_accounts.py; what is
read: memory_reads.py.
"""

import asyncio
import json
from dataclasses import replace
from typing import TypeVar

from chatmotor.errors import (
    CidConflict,
    Conflict,
    Forbidden,
    NoSuchConv,
    NoSuchUser,
    QuotaExceeded,
    RequestRefused,
    StoreUnavailable,
    Suspended,
)
from chatmotor.ports.messages import (
    ChangedGroup,
    Event,
    EventType,
    GuestMessage,
    Logged,
    MemberChange,
    Message,
    NewGroup,
    NewMessage,
    Role,
    StoredMessage,
    direct_conv,
    guest_conv,
)
from chatmotor.ports.store import Done
from tests.fakes.memory_hooks import MemoryHooks
from tests.fakes.memory_reads import MemberState, Talk

T = TypeVar("T", StoredMessage, ChangedGroup)


class MemoryStore(MemoryHooks):
    """See the module."""

    def __init__(self) -> None:
        super().__init__()
        self._epochs = 0
        self._requests: dict[
            tuple[str, str], tuple[bytes, StoredMessage | ChangedGroup]
        ] = {}

    @property
    def epoch(self) -> str:
        return f"epoch{self._epochs}"

    async def start(self) -> None:
        self._open = True

    async def stop(self) -> None:
        self._open = False

    async def ping(self) -> None:
        self._check_open()

    async def new_epoch(self) -> str:
        self._check_open()
        self._epochs += 1
        return self.epoch

    async def trim(self, *, before: int) -> int:
        self._check_open()
        dropped = 0
        for username, mailbox in self._mailboxes.items():
            while self._floors[username] < len(mailbox):
                if mailbox[self._floors[username]].ts >= before:
                    break
                self._floors[username] += 1
                dropped += 1
        return dropped

    def send_soon(self, message: NewMessage, done: Done) -> None:
        answer: StoredMessage | Exception
        try:
            answer = self._send(message)
        except (RequestRefused, OverflowError) as error:
            answer = error
        asyncio.get_running_loop().call_soon(done, answer)

    async def send(self, message: NewMessage) -> StoredMessage:
        return self._send(message)

    async def send_from_guest(self, message: GuestMessage) -> StoredMessage:
        self._check_open()
        account = self._account(message.to)
        if account.closed:
            raise Forbidden("closed")
        conv = guest_conv(account.id, message.guest)
        members = {message.to: MemberState(Role.MEMBER, message.ts)}
        talk = self._talks.setdefault(
            conv, Talk(conv, members, message.ts, guest=message.guest)
        )
        stored = Message(
            *(conv, len(talk.messages) + 1, message.guest, "", message.ts),
            *(message.body, True),
            guest=True,
        )
        talk.messages.append(stored)
        seq = self._log_message(self._mailboxes[message.to], stored)
        talk.places.append({message.to: seq})
        return StoredMessage(conv, stored.n, message.ts, peer=message.to, peer_seq=seq)

    async def create_group(self, group: NewGroup) -> ChangedGroup:
        self._check_user(group.creator)
        request, digest = (group.creator, group.cid), group.digest()
        if request in self._requests:
            return self._again(request, digest, ChangedGroup)
        members = group.members | {group.creator}
        for username in members:
            self._check_can_come(username)
        if len(members) > group.max_members:
            raise QuotaExceeded("too many")
        if group.conv in self._talks:
            raise Conflict("there is one")
        created = Talk(group.conv, {}, group.ts, group=True, title=group.title)
        self._talks[group.conv] = created
        answer = self._change(created, group.creator, group.ts, members, frozenset())
        created.members[group.creator].role = Role.OWNER
        return self._remember(request, digest, answer)

    async def change_members(self, change: MemberChange) -> ChangedGroup:
        self._check_user(change.actor)
        request, digest = (change.actor, change.cid), change.digest()
        if request in self._requests:
            return self._again(request, digest, ChangedGroup)
        group = self._talk_of(change.actor, change.conv)
        if not group.group:
            raise NoSuchConv("not a group")
        if self._account(change.actor).closed:
            raise Suspended("closed")
        for username in change.add:
            self._check_can_come(username)
        for username in change.remove:
            self._check_user(username)
        here = group.here()
        add, remove = change.add - here.keys(), change.remove & here.keys()
        for username in remove - {change.actor}:
            mine, theirs = here[change.actor].role, here[username].role
            if (mine, theirs) not in {
                (Role.OWNER, Role.ADMIN),
                (Role.OWNER, Role.MEMBER),
                (Role.ADMIN, Role.MEMBER),
            }:
                raise Forbidden("not your role")
        if add and len(here) + len(add) - len(remove) > change.max_members:
            raise QuotaExceeded("too many")
        answer = ChangedGroup(group.conv, len(group.log), group.revision)
        if add or remove:
            answer = self._change(group, change.actor, change.ts, add, remove)
        return self._remember(request, digest, answer)

    async def mark_read(
        self, username: str, conv: str, n: int, *, ts: int
    ) -> Logged | None:
        self._check_user(username)
        talk = self._talk_of(username, conv)
        goal = min(n, len(talk.messages))
        if goal <= talk.members[username].read:
            return None
        talk.members[username].read = goal
        detail = json.dumps({"n": goal})
        event = Event(0, EventType.CONV_READ, conv, ts, detail=detail)
        return Logged(event, {username: self._log_in_mailbox(username, event)})

    def _send(self, message: NewMessage) -> StoredMessage:
        self._check_user(message.sender)
        if message.ts.bit_length() > 63:
            raise OverflowError("no store can keep this")
        request, digest = (message.sender, message.cid), message.digest()
        if request in self._requests:
            return self._again(request, digest, StoredMessage)
        talk = self._destination(message)
        n = len(talk.messages) + 1
        stored = Message(
            *(talk.conv, n, message.sender, message.cid, message.ts),
            *(message.body, message.raw),
            reply_to=message.reply_to,
        )
        talk.messages.append(stored)
        answer = StoredMessage(talk.conv, n, message.ts)
        places = {}
        if talk.group:
            answer = replace(answer, pos=self._log_message(talk.log, stored))
        else:
            seq = self._log_message(self._mailboxes[message.sender], stored)
            answer = replace(answer, seq=seq)
            for peer in set(talk.members) - {message.sender}:
                places[peer] = self._log_message(self._mailboxes[peer], stored)
                answer = replace(answer, peer=peer, peer_seq=places[peer])
        talk.places.append(places)
        talk.members[message.sender].read = n
        return self._remember(request, digest, answer)

    def _check_open(self) -> None:
        if not self._open:
            raise StoreUnavailable("stopped")

    def _check_can_come(self, username: str) -> None:
        self._check_user(username)
        if self._account(username).closed:
            raise NoSuchUser("closed")

    def _again(self, request: tuple[str, str], digest: bytes, kind: type[T]) -> T:
        first, answer = self._requests[request]
        if first != digest or not isinstance(answer, kind):
            raise CidConflict
        return replace(answer, dup=True)

    def _remember(self, request: tuple[str, str], digest: bytes, answer: T) -> T:
        kept = answer
        if isinstance(kept, ChangedGroup):
            kept = replace(kept, logged=())
        self._requests[request] = digest, kept
        return answer

    def _destination(self, message: NewMessage) -> Talk:
        sender = self._account(message.sender)
        if message.to is None:
            talk = self._talk_of(message.sender, message.conv or "")
        else:
            recipient = self._account(message.to)
            conv = direct_conv(sender.id, recipient.id)
            members = {
                each: MemberState(Role.MEMBER, message.ts)
                for each in (message.sender, message.to)
            }
            talk = self._talks.get(conv, Talk(conv, members, message.ts))
        if sender.closed:
            raise Suspended("closed")
        if talk.guest is not None:
            raise Forbidden("guests have no mailbox")
        if not talk.group and any(self._account(each).closed for each in talk.members):
            raise Forbidden("closed")
        return self._talks.setdefault(talk.conv, talk)

    def _change(
        self,
        group: Talk,
        actor: str,
        ts: int,
        add: frozenset[str],
        remove: frozenset[str],
    ) -> ChangedGroup:
        """Make a change that has been checked."""
        for username in add:
            state = MemberState(Role.MEMBER, ts, read=len(group.messages))
            group.members[username] = state
        owner_goes = any(group.members[x].role is Role.OWNER for x in remove)
        for username in remove:
            group.members[username].active = False
            self._end_incoming(username, group.conv)
        detail: dict[str, object] = {"actor": actor}
        detail |= {"added": sorted(add), "removed": sorted(remove)}
        heirs = sorted(
            (state.role is not Role.ADMIN, state.ts, self._account(username).id)
            for username, state in group.here().items()
            if not self._account(username).closed
        )
        if owner_goes and heirs:
            heir = next(x for x in group.members if self._account(x).id == heirs[0][2])
            group.members[heir].role = Role.OWNER
            detail["owner"] = heir
        group.revision += 1
        pos = len(group.log) + 1
        event = Event(
            *(0, EventType.CONV_MEMBER, group.conv, ts),
            detail=json.dumps(detail, ensure_ascii=False),
        )
        group.log.append(replace(event, at=pos))
        logged = [Logged(event, pos=pos)]
        if add:
            new = json.dumps({"actor": actor, "title": group.title, "since": pos})
            logged.append(
                self._tell(
                    add, Event(0, EventType.CONV_NEW, group.conv, ts, detail=new)
                )
            )
        for username in remove:
            detail |= {"added": [], "removed": [username]}
            detail.pop("owner", None)
            own = json.dumps(detail, ensure_ascii=False)
            logged.append(self._tell(frozenset({username}), replace(event, detail=own)))
        return ChangedGroup(group.conv, pos, group.revision, tuple(logged))

    def _tell(self, usernames: frozenset[str], event: Event) -> Logged:
        return Logged(event, {x: self._log_in_mailbox(x, event) for x in usernames})

    def _log_message(self, log: list[Event], message: Message) -> int:
        at = len(log) + 1
        log.append(
            Event(at, EventType.MESSAGE_NEW, message.conv, message.ts, message=message)
        )
        return at
