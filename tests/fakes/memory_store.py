# SPDX-License-Identifier: Apache-2.0
"""The store as plain lists: what the SQL stores are compared with.

It keeps every promise of ``ports/store.py`` but durability: all is lost with the
object, not with ``stop``.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from chatmotor.errors import (
    CidConflict,
    Conflict,
    NoSuchConv,
    NoSuchUser,
    NotMember,
    StoreUnavailable,
)
from chatmotor.ports.store import (
    Account,
    ChangedGroup,
    Event,
    EventPage,
    EventType,
    GroupLog,
    Mailbox,
    MemberChange,
    Membership,
    Message,
    MessagePage,
    NewGroup,
    NewMessage,
    StoredMessage,
    Tops,
    direct_conv,
)


@dataclass
class _Conversation:
    conv: str
    # Of a direct conversation: the one or two in it.  Of a group: all who ever were.
    members: dict[str, bool]
    group: bool
    revision: int = 0
    messages: list[Message] = field(default_factory=list)
    log: list[Event] = field(default_factory=list)


T = TypeVar("T", StoredMessage, ChangedGroup)


class MemoryStore:
    """See the module."""

    def __init__(self) -> None:
        self._open = False
        self._mailboxes: dict[str, list[Event]] = {}
        self._ids: dict[str, int] = {}
        self._conversations: dict[str, _Conversation] = {}
        self._requests: dict[
            tuple[str, str], tuple[bytes, StoredMessage | ChangedGroup]
        ] = {}

    async def start(self) -> None:
        self._open = True

    async def stop(self) -> None:
        self._open = False

    async def add_account(self, username: str, *, ts: int) -> Account:
        self._check_open()
        mailbox = self._mailboxes.setdefault(username, [])
        account = self._ids.setdefault(username, len(self._ids) + 1)
        return Account(account, username, len(mailbox))

    async def send(self, message: NewMessage) -> StoredMessage:
        self._check_user(message.sender)
        if message.ts.bit_length() > 63:
            raise OverflowError("no store can keep this")
        request, digest = (message.sender, message.cid), message.digest()
        if request in self._requests:
            return self._again(request, digest, StoredMessage)
        conversation = self._destination(message)
        n = len(conversation.messages) + 1
        stored = Message(
            *(conversation.conv, n, message.sender, message.cid, message.ts),
            *(message.body, message.raw),
        )
        conversation.messages.append(stored)
        answer = StoredMessage(conversation.conv, n, message.ts)
        if conversation.group:
            answer = replace(answer, pos=self._log(conversation.log, stored))
        else:
            seq = self._log(self._mailboxes[message.sender], stored)
            answer = replace(answer, seq=seq)
            for peer in set(conversation.members) - {message.sender}:
                peer_seq = self._log(self._mailboxes[peer], stored)
                answer = replace(answer, peer=peer, peer_seq=peer_seq)
        self._requests[request] = digest, answer
        return answer

    async def create_group(self, group: NewGroup) -> ChangedGroup:
        self._check_user(group.creator)
        request, digest = (group.creator, group.cid), group.digest()
        if request in self._requests:
            return self._again(request, digest, ChangedGroup)
        for username in group.members:
            self._check_user(username)
        if group.conv in self._conversations:
            raise Conflict("there is one")
        created = _Conversation(group.conv, {}, group=True)
        self._conversations[group.conv] = created
        members = group.members | {group.creator}
        return self._change(
            *(created, request, digest, group.ts), added=members, removed=frozenset()
        )

    async def change_members(self, change: MemberChange) -> ChangedGroup:
        self._check_user(change.actor)
        request, digest = (change.actor, change.cid), change.digest()
        if request in self._requests:
            return self._again(request, digest, ChangedGroup)
        group = self._conversation_of(change.actor, change.conv)
        if not group.group:
            raise NoSuchConv("not a group")
        for username in change.add | change.remove:
            self._check_user(username)
        active = {each for each, here in group.members.items() if here}
        return self._change(
            *(group, request, digest, change.ts),
            added=change.add - active,
            removed=change.remove & active,
        )

    async def events(
        self, log: Mailbox | GroupLog, *, since: int, limit: int
    ) -> EventPage:
        await asyncio.sleep(0)  # as with a real store, others have their turn
        if isinstance(log, Mailbox):
            self._check_user(log.username)
            events = self._mailboxes[log.username]
        else:
            if log.reader is not None:
                self._check_user(log.reader)
                self._conversation_of(log.reader, log.conv)
            group = self._conversations.get(log.conv)
            if group is None or not group.group:
                raise NoSuchConv("not a group")
            events = group.log
        return EventPage(tuple(events[since : since + limit]), len(events))

    async def history(
        self,
        conv: str,
        *,
        reader: str,
        limit: int,
        before: int | None = None,
        after: int | None = None,
    ) -> MessagePage:
        if before is not None and after is not None:
            raise ValueError("both")
        self._check_user(reader)
        messages = self._conversation_of(reader, conv).messages
        if after is not None:
            found = [each for each in messages if each.n > after]
            return MessagePage(tuple(found[:limit]), more=len(found) > limit)
        found = [each for each in messages if before is None or each.n < before]
        return MessagePage(tuple(found[-limit:]), more=len(found) > limit)

    async def tops(self, usernames: Sequence[str], convs: Sequence[str]) -> Tops:
        self._check_open()
        return Tops(
            {
                each: len(self._mailboxes[each])
                for each in usernames
                if each in self._mailboxes
            },
            {
                each: len(self._conversations[each].log)
                for each in convs
                if each in self._conversations and self._conversations[each].group
            },
        )

    def _check_open(self) -> None:
        if not self._open:
            raise StoreUnavailable("stopped")

    def _check_user(self, username: str) -> None:
        self._check_open()
        if username not in self._ids:
            raise NoSuchUser(username)

    def _again(self, request: tuple[str, str], digest: bytes, kind: type[T]) -> T:
        first, answer = self._requests[request]
        if first != digest or not isinstance(answer, kind):
            raise CidConflict
        return replace(answer, dup=True)

    def _destination(self, message: NewMessage) -> _Conversation:
        if message.to is None:
            return self._conversation_of(message.sender, message.conv or "")
        self._check_user(message.to)
        conv = direct_conv(self._ids[message.sender], self._ids[message.to])
        members = dict.fromkeys((message.sender, message.to), True)
        return self._conversations.setdefault(
            conv, _Conversation(conv, members, group=False)
        )

    def _conversation_of(self, username: str, conv: str) -> _Conversation:
        conversation = self._conversations.get(conv)
        if conversation is None or username not in conversation.members:
            raise NoSuchConv("not in it")
        if not conversation.members[username]:
            raise NotMember("not any more")
        return conversation

    def _change(
        self,
        group: _Conversation,
        request: tuple[str, str],
        digest: bytes,
        ts: int,
        *,
        added: frozenset[str],
        removed: frozenset[str],
    ) -> ChangedGroup:
        group.members |= dict.fromkeys(added, True) | dict.fromkeys(removed, False)
        if added or removed:
            group.revision += 1
            change = Membership(
                request[0], tuple(sorted(added)), tuple(sorted(removed))
            )
            at = len(group.log) + 1
            event = Event(at, EventType.CONV_MEMBER, group.conv, ts, membership=change)
            group.log.append(event)
        answer = ChangedGroup(group.conv, len(group.log), group.revision)
        self._requests[request] = digest, answer
        return answer

    def _log(self, log: list[Event], message: Message) -> int:
        at = len(log) + 1
        log.append(
            Event(at, EventType.MESSAGE_NEW, message.conv, message.ts, message=message)
        )
        return at
