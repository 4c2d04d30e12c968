# SPDX-License-Identifier: Apache-2.0
"""A batch of sends as one PostgreSQL transaction of a few statements.

    BEGIN
      1  create direct conversations that are not there      by conv
      2  lock the conversations                              by conv
      3  lock the accounts of direct messages                by id
      4  read what was sent before under these cids, and who is a member
         ... decide and number, in memory ...
      5  write everything in one statement                   requests by account, cid
    COMMIT

Every node locks in this order, so no two wait for each other in a circle.  What is
decided in memory is decided from rows that are locked, or read after the locks, and
nobody changes them before COMMIT: a member that another node removes is removed
before step 2 or after COMMIT.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from chatmotor.adapters.postgres_accounts import Accounts
from chatmotor.adapters.store_rows import (
    ANSWER_COLUMNS,
    cannot_be_written_to,
    guests_cannot_be_answered,
    no_such_conv,
    no_such_user,
    refuse_reader,
    request_row,
    stored_before,
    suspended,
)
from chatmotor.errors import RequestRefused
from chatmotor.ports.messages import (
    EventType,
    NewMessage,
    StoredMessage,
    direct_conv,
)

# None: decide it again in the next transaction, after the one with the same cid.
Answer = StoredMessage | RequestRefused | None

_CREATE = """
INSERT INTO conversation
    (conv, one, other, title, n, one_read, other_read, pos, revision, members, ts)
SELECT conv, one, other, '', 0, 0, 0, 0, 0, 0, ts
FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[])
    AS x (conv, one, other, ts)
ORDER BY conv ON CONFLICT DO NOTHING
"""
_LOCK_CONVERSATIONS = """
SELECT conv, one, other, n, one_read, other_read, pos, ts FROM conversation
WHERE conv = ANY($1::text[]) ORDER BY conv FOR NO KEY UPDATE
"""
_LOCK_ACCOUNTS = """
SELECT id, seq, closed FROM account
WHERE id = ANY($1::bigint[]) ORDER BY id FOR NO KEY UPDATE
"""
_REQUESTS = f"""
SELECT account, cid, {ANSWER_COLUMNS} FROM request
JOIN unnest($1::bigint[], $2::text[]) AS x (account, cid) USING (account, cid)
"""  # noqa: S608  # constants
_MEMBERS = """
SELECT m.conv, m.account, m.active, a.closed FROM member m
JOIN unnest($1::text[], $2::bigint[]) AS x (conv, account) USING (conv, account)
JOIN account a ON a.id = m.account
"""
_WRITE = """
WITH requests AS (
    INSERT INTO request (account, cid, digest, conv, n, seq, peer, peer_seq, pos,
        revision, ts)
    SELECT * FROM unnest($1::bigint[], $2::text[], $3::bytea[], $4::text[],
        $5::bigint[], $6::bigint[], $7::text[], $8::bigint[], $9::bigint[],
        $10::bigint[], $11::bigint[]) AS x (account, cid) ORDER BY account, cid
), messages AS (
    INSERT INTO message (conv, n, sender, cid, ts, peer_seq, reply_to, raw, body)
    SELECT * FROM unnest($4::text[], $5::bigint[], $1::bigint[], $2::text[],
        $11::bigint[], $8::bigint[], $12::bigint[], $13::boolean[], $14::bytea[])
), mailboxes AS (
    INSERT INTO mailbox (account, seq, t, conv, n, ts)
    SELECT account, seq, $15::text, conv, n, ts FROM unnest($16::bigint[],
        $17::bigint[], $18::text[], $19::bigint[], $20::bigint[])
        AS x (account, seq, conv, n, ts)
), logs AS (
    INSERT INTO group_log (conv, pos, t, n, ts)
    SELECT conv, pos, $15::text, n, ts FROM unnest($4::text[], $9::bigint[],
        $5::bigint[], $11::bigint[]) AS x (conv, pos, n, ts) WHERE pos IS NOT NULL
), conversations AS (
    UPDATE conversation c
    SET n = x.n, one_read = x.one_read, other_read = x.other_read, pos = x.pos,
        ts = x.ts
    FROM unnest($21::text[], $22::bigint[], $23::bigint[], $24::bigint[],
        $25::bigint[], $26::bigint[]) AS x (conv, n, one_read, other_read, pos, ts)
    WHERE c.conv = x.conv
), members AS (
    UPDATE member m SET read = x.n
    FROM unnest($27::text[], $28::bigint[], $29::bigint[]) AS x (conv, account, n)
    WHERE m.conv = x.conv AND m.account = x.account
)
UPDATE account a SET seq = x.seq
FROM unnest($30::bigint[], $31::bigint[]) AS x (id, seq) WHERE a.id = x.id
"""


@dataclass(slots=True)
class _Conversation:
    """A locked row, counting on."""

    conv: str
    one: int | None
    other: int | None
    n: int
    one_read: int
    other_read: int
    pos: int
    ts: int
    moved: bool = False


@dataclass(slots=True)
class _Rows:
    """What step 5 writes."""

    requests: list[tuple[Any, ...]] = field(default_factory=list)
    messages: list[NewMessage] = field(default_factory=list)
    events: list[tuple[int, int, str, int, int]] = field(default_factory=list)
    pointers: dict[tuple[str, int], int] = field(default_factory=dict)


class SendBatch:
    """
    Sends that are committed together.

    Args:
        accounts: What is known of accounts.
        known: Direct conversations that exist; grows with each commit.
    """

    def __init__(
        self, accounts: Accounts, known: set[str], messages: Sequence[NewMessage]
    ) -> None:
        self._accounts = accounts
        self._known = known
        self._messages = messages
        # Where each message goes; none when its sender or recipient is unknown.
        self._convs: list[str | None] = []
        self._created: dict[str, tuple[int, int, int]] = {}
        self._conversations: dict[str, _Conversation] = {}
        self._seqs: dict[int, int] = {}
        self._closed: set[int] = set()
        self._moved: set[int] = set()
        self._requests: dict[tuple[int, str], Any] = {}
        self._members: dict[tuple[str, int], bool] = {}
        self._rows = _Rows()

    async def run(self, connection: Any) -> list[Answer]:
        """Everything between BEGIN and COMMIT; an answer per message, in order."""
        usernames = {each.sender for each in self._messages}
        usernames.update(each.to for each in self._messages if each.to is not None)
        await self._accounts.learn(connection, usernames)
        self._convs = [self._address(each) for each in self._messages]
        await self._lock(connection)
        await self._look_up(connection)
        answers = [self._decide(*each) for each in enumerate(self._messages)]
        if self._rows.messages:
            await self._write(connection)
        return answers

    def committed(self) -> None:
        """What was created exists for ever."""
        self._known.update(self._created)

    def _address(self, message: NewMessage) -> str | None:
        sender = self._accounts.find(message.sender)
        if sender is None or message.to is None:
            return message.conv if sender is not None else None
        peer = self._accounts.find(message.to)
        if peer is None:
            return None
        conv = direct_conv(sender, peer)
        if conv not in self._known:
            self._created[conv] = (min(sender, peer), max(sender, peer), message.ts)
        return conv

    async def _lock(self, connection: Any) -> None:
        """Steps 1 to 3."""
        if self._created:
            columns = zip(*self._created.values(), strict=True)
            await connection.execute(_CREATE, list(self._created), *map(list, columns))
        convs = list({conv for conv in self._convs if conv is not None})
        for row in await connection.fetch(_LOCK_CONVERSATIONS, convs):
            self._conversations[row[0]] = _Conversation(*row)
        ids = {
            account
            for each in self._conversations.values()
            for account in (each.one, each.other)
            if account is not None
        }
        await self._accounts.learn(connection, (), ids)
        if ids:
            for account, seq, closed in await connection.fetch(
                _LOCK_ACCOUNTS, list(ids)
            ):
                self._seqs[account] = seq
                if closed:
                    self._closed.add(account)

    async def _look_up(self, connection: Any) -> None:
        """Step 4."""
        senders = [self._accounts.find(each.sender) for each in self._messages]
        known = [
            (sender, each.cid, conv)
            for sender, each, conv in zip(
                senders, self._messages, self._convs, strict=True
            )
            if sender is not None
        ]
        rows = await connection.fetch(
            _REQUESTS, [each[0] for each in known], [each[1] for each in known]
        )
        self._requests = {(row[0], row[1]): row[2:] for row in rows}
        groups = {
            (conv, sender)
            for sender, _, conv in known
            if conv in self._conversations and self._conversations[conv].one is None
        }
        if groups:
            rows = await connection.fetch(
                _MEMBERS, [each[0] for each in groups], [each[1] for each in groups]
            )
            self._members = {(row[0], row[1]): bool(row[2]) for row in rows}
            self._closed.update(row[1] for row in rows if row[3])

    def _decide(self, index: int, message: NewMessage) -> Answer:
        """Refuse a message, or find its first answer, or number it."""
        try:
            sender = self._accounts.id(message.sender)
            digest = message.digest()
            before = self._requests.get((sender, message.cid), False)
            if before is None:
                return None
            if before:
                return stored_before(before, digest)
            conversation = self._destination(message, sender, self._convs[index])
        except RequestRefused as refused:
            return refused
        answer = self._number(message, sender, conversation)
        self._requests[(sender, message.cid)] = None
        row = request_row(sender, message.cid, digest, answer)
        self._rows.requests.append(row)
        self._rows.messages.append(message)
        return answer

    def _destination(
        self, message: NewMessage, sender: int, conv: str | None
    ) -> _Conversation:
        if conv is None:
            raise no_such_user(message.to or "")
        conversation = self._conversations.get(conv)
        if conversation is None:
            raise no_such_conv()
        one, other = conversation.one, conversation.other
        if one is None:
            refuse_reader(active=self._members.get((conv, sender)))
        elif sender not in {one, other} or (
            # Created by step 1 for a later message of this batch, or for one that
            # was refused: it begins with its first message.
            message.to is None and conversation.n == 0
        ):
            raise no_such_conv()
        if sender in self._closed:
            raise suspended()
        if one is not None and other is None:
            raise guests_cannot_be_answered()
        if one in self._closed or other in self._closed:
            raise cannot_be_written_to()
        return conversation

    def _number(
        self, message: NewMessage, sender: int, conversation: _Conversation
    ) -> StoredMessage:
        conversation.moved = True
        conversation.n += 1
        conv, n, ts = conversation.conv, conversation.n, message.ts
        one, other = conversation.one, conversation.other
        if one is None or other is None:
            conversation.pos += 1
            self._rows.pointers[(conv, sender)] = n
            return StoredMessage(conv, n, ts, pos=conversation.pos)
        if n == 1:
            conversation.ts = ts  # a refused message may have made the row
        if sender == one:
            conversation.one_read = n
        else:
            conversation.other_read = n
        seq = self._deliver(sender, conv, n, ts)
        if one == other:
            return StoredMessage(conv, n, ts, seq)
        peer = other if one == sender else one
        peer_seq = self._deliver(peer, conv, n, ts)
        username = self._accounts.username(peer)
        return StoredMessage(conv, n, ts, seq, username, peer_seq)

    def _deliver(self, account: int, conv: str, n: int, ts: int) -> int:
        """Append a message to a mailbox."""
        seq = self._seqs[account] = self._seqs[account] + 1
        self._moved.add(account)
        self._rows.events.append((account, seq, conv, n, ts))
        return seq

    async def _write(self, connection: Any) -> None:
        """Step 5."""
        rows = self._rows
        moved = [each for each in self._conversations.values() if each.moved]
        await connection.execute(
            _WRITE,
            *_columns(rows.requests, 11),
            [each.reply_to for each in rows.messages],
            [each.raw for each in rows.messages],
            [each.body for each in rows.messages],
            EventType.MESSAGE_NEW.value,
            *_columns(rows.events, 5),
            [each.conv for each in moved],
            [each.n for each in moved],
            [each.one_read for each in moved],
            [each.other_read for each in moved],
            [each.pos for each in moved],
            [each.ts for each in moved],
            *_columns([(*member, n) for member, n in rows.pointers.items()], 3),
            list(self._moved),
            [self._seqs[each] for each in self._moved],
        )


def _columns(rows: Sequence[Sequence[Any]], width: int) -> list[list[Any]]:
    """The *width* columns of *rows*, also of none."""
    if not rows:
        return [[] for _ in range(width)]
    return [list(column) for column in zip(*rows, strict=True)]
