# SPDX-License-Identifier: Apache-2.0
"""The lists of the fake store, and what is read of them."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from chatmotor.errors import NoSuchConv, NotMember, Trimmed
from chatmotor.ports.messages import (
    PAGE_BYTES,
    Conversation,
    ConversationPage,
    Event,
    EventPage,
    GroupLog,
    Mailbox,
    Member,
    Message,
    MessagePage,
    Role,
    Standing,
    Tops,
)
from tests.fakes.memory_accounts import MemoryAccounts


@dataclass
class MemberState:
    """An account that is, or was, in a conversation."""

    role: Role
    ts: int
    read: int = 0
    active: bool = True


@dataclass
class Talk:
    """
    A conversation.

    Args:
        members: Of a direct one: the one or two in it.  Of a group: all who ever were.
        places: For each message, its seq in the mailboxes of those who did not send it.
    """

    conv: str
    members: dict[str, MemberState]
    ts: int
    group: bool = False
    guest: str | None = None
    title: str = ""
    revision: int = 0
    messages: list[Message] = field(default_factory=list)
    places: list[dict[str, int]] = field(default_factory=list)
    log: list[Event] = field(default_factory=list)

    def here(self) -> dict[str, MemberState]:
        """Those who are in it now."""
        return {each: state for each, state in self.members.items() if state.active}


class MemoryReads(MemoryAccounts):
    """See the module."""

    def __init__(self) -> None:
        super().__init__()
        self._open = False
        self._mailboxes: dict[str, list[Event]] = defaultdict(list)
        self._floors: dict[str, int] = defaultdict(int)
        self._talks: dict[str, Talk] = {}

    async def events(
        self, log: Mailbox | GroupLog, *, since: int, limit: int
    ) -> EventPage:
        await asyncio.sleep(0)  # as with a real store, others have their turn
        if isinstance(log, Mailbox):
            self._check_user(log.username)
            if since < self._floors[log.username]:
                raise Trimmed("gone")
            events = self._mailboxes[log.username]
        else:
            if log.reader is not None:
                self._check_user(log.reader)
                self._talk_of(log.reader, log.conv)
            group = self._talks.get(log.conv)
            if group is None or not group.group:
                raise NoSuchConv("not a group")
            events = group.log
        page = events[since : since + limit]
        return EventPage(tuple(page[: _fitting(page)]), len(events))

    async def history(
        self,
        conv: str,
        *,
        reader: str,
        limit: int,
        before: int | None = None,
        after: int | None = None,
        around: int | None = None,
    ) -> MessagePage:
        if [before, after, around].count(None) < 2:
            raise ValueError("both")
        self._check_user(reader)
        talk = self._talk_of(reader, conv)
        receipts = self._receipts(talk)
        if after is not None:
            found = [each for each in talk.messages if each.n > after]
            page = found[:limit][: _fitting(found)]
            return MessagePage(tuple(page), len(found) > len(page), receipts)
        if around is not None:
            half = limit // 2
            early = [each for each in talk.messages if each.n < around]
            late = [each for each in talk.messages if each.n >= around]
            found = (early[-half:] if half else []) + late[: limit - half]
            found.sort(key=lambda each: (abs(each.n - around), each.n))
            page = sorted(found[: _fitting(found)], key=lambda each: each.n)
            more = page[-1].n < len(talk.messages) if page else len(late) > limit - half
            return MessagePage(tuple(page), more, receipts)
        found = [each for each in talk.messages if before is None or each.n < before]
        page = found[::-1][:limit][: _fitting(found[::-1])]
        return MessagePage(tuple(page[::-1]), len(found) > len(page), receipts)

    async def receipts(
        self, convs: Sequence[str]
    ) -> dict[str, dict[str, tuple[int, int]]]:
        self._check_open()
        found = {
            conv: self._receipts(self._talks[conv])
            for conv in convs
            if conv in self._talks
        }
        return {conv: places for conv, places in found.items() if len(places) == 2}

    async def tops(self, usernames: Sequence[str], convs: Sequence[str]) -> Tops:
        self._check_open()
        return Tops(
            {x: len(self._mailboxes[x]) for x in usernames if x in self._accounts},
            {
                each: len(self._talks[each].log)
                for each in convs
                if each in self._talks and self._talks[each].group
            },
        )

    async def standings(self, username: str) -> tuple[Standing, ...]:
        self._check_open()
        return tuple(
            Standing(
                talk.conv,
                len(talk.log),
                len(talk.messages),
                talk.members[username].read,
            )
            for _, talk in sorted(self._talks.items())
            if talk.group and username in talk.here()
        )

    async def conversations(
        self, username: str, *, after: str, limit: int
    ) -> ConversationPage:
        self._check_user(username)
        found = [
            replace(
                self._seen_by(username, talk),
                last=talk.messages[-1] if talk.messages else None,
            )
            for conv, talk in sorted(self._talks.items())
            if conv > after and username in talk.here()
        ]
        seq = len(self._mailboxes[username])
        page = found[:limit]
        page = page[: _fitting([each.last for each in page])]
        return ConversationPage(tuple(page), len(found) > len(page), seq)

    async def conversation(self, conv: str, *, reader: str) -> Conversation:
        self._check_user(reader)
        return self._seen_by(reader, self._talk_of(reader, conv))

    async def members(
        self, conv: str, *, reader: str, after: str, limit: int
    ) -> tuple[Member, ...]:
        self._check_user(reader)
        talk = self._talk_of(reader, conv)
        if not talk.group:
            raise NoSuchConv("no group")
        found = [
            Member(username, state.role)
            for username, state in sorted(talk.here().items())
            if username > after
        ]
        return tuple(found[:limit])

    def _seen_by(self, username: str, talk: Talk) -> Conversation:
        mine = talk.members[username]
        seen = Conversation(
            *(talk.conv, talk.ts, len(talk.messages), len(talk.log), mine.read)
        )
        if talk.group:
            members = len(talk.here())
            return replace(seen, title=talk.title, role=mine.role, members=members)
        if talk.guest is not None:
            return replace(seen, peer=talk.guest, guest=True)
        peer = next((x for x in talk.members if x != username), username)
        return replace(seen, peer=peer)

    def _receipts(self, talk: Talk) -> dict[str, tuple[int, int]]:
        if talk.group or talk.guest is not None:
            return {}
        return {
            username: (self._delivered(username, talk), state.read)
            for username, state in talk.members.items()
        }

    def _delivered(self, username: str, talk: Talk) -> int:
        cursors = [
            device.cursor
            for (owner, _), device in self._devices.items()
            if owner == username
        ]
        delivered = talk.members[username].read
        for message, places in zip(talk.messages, talk.places, strict=True):
            own = message.sender == username
            if own or places[username] <= max(cursors, default=0):
                delivered = max(delivered, message.n)
        return delivered

    def _check_user(self, username: str) -> None:
        self._check_open()
        self._account(username)

    def _talk_of(self, username: str, conv: str) -> Talk:
        talk = self._talks.get(conv)
        if talk is None or username not in talk.members:
            raise NoSuchConv("not in it")
        if not talk.members[username].active:
            raise NotMember("not any more")
        return talk

    def _log_in_mailbox(self, username: str, event: Event) -> int:
        mailbox = self._mailboxes[username]
        mailbox.append(replace(event, at=len(mailbox) + 1))
        return len(mailbox)

    def _mailbox_bounds(self, username: str) -> tuple[int, int]:
        return len(self._mailboxes[username]), self._floors[username]


def _fitting(rows: Sequence[Event | Message | None]) -> int:
    """How many of these fit into a page: at least one."""
    total = 0
    for count, row in enumerate(rows):
        message = row.message if isinstance(row, Event) else row
        if message is not None:
            total += len(message.body)
        elif isinstance(row, Event):
            total += len((row.detail or "").encode())
        if total > PAGE_BYTES and count:
            return count
    return len(rows)
