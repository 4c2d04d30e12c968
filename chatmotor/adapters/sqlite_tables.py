# SPDX-License-Identifier: Apache-2.0
"""The writes, one after the other, inside the transaction of the writer thread.

    decide (nothing is written yet; may refuse) --> number --> insert

Nobody else writes to the file, so the counters of accounts and conversations are kept
in memory.  They count ahead of the disk while a transaction is open: ``flush`` puts
them into it, and after a rollback ``forget`` drops them all.
"""

import sqlite3
from dataclasses import dataclass
from typing import Any

from chatmotor.adapters.store_rows import (
    ANSWER_COLUMNS,
    change_request_row,
    changed_before,
    membership_detail,
    no_such_conv,
    no_such_user,
    refuse_reader,
    request_row,
    stored_before,
)
from chatmotor.errors import Conflict
from chatmotor.ports.store import (
    Account,
    ChangedGroup,
    EventType,
    MemberChange,
    NewGroup,
    NewMessage,
    StoredMessage,
    direct_conv,
)

# Accounts and conversations in memory, each; then the oldest knowledge is dropped.
CACHED = 50_000


@dataclass(slots=True)
class _Account:
    id: int
    username: str
    seq: int


@dataclass(slots=True)
class _Conversation:
    conv: str
    one: int | None
    other: int | None
    n: int
    pos: int
    revision: int


class Tables:
    """
    What the writer thread does to the tables.

    Args:
        connection: The writer's, with a transaction open whenever a write is called.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._execute = connection.execute
        self._executemany = connection.executemany
        self._accounts: dict[str, _Account] = {}
        self._conversations: dict[str, _Conversation] = {}
        self._moved_accounts: dict[int, _Account] = {}
        self._moved_conversations: dict[str, _Conversation] = {}

    def flush(self) -> None:
        """Write the counters that have moved, before COMMIT."""
        self._executemany(
            "UPDATE account SET seq = ? WHERE id = ?",
            [(each.seq, each.id) for each in self._moved_accounts.values()],
        )
        self._executemany(
            "UPDATE conversation SET n = ?, pos = ?, revision = ? WHERE conv = ?",
            [
                (each.n, each.pos, each.revision, each.conv)
                for each in self._moved_conversations.values()
            ],
        )
        self._moved_accounts.clear()
        self._moved_conversations.clear()

    def forget(self) -> None:
        """After a rollback: what is in memory is not what is on disk."""
        self._accounts.clear()
        self._conversations.clear()
        self._moved_accounts.clear()
        self._moved_conversations.clear()

    def trim(self) -> None:
        """Keep the memory bounded; call it between transactions only."""
        if len(self._accounts) > CACHED:
            self._accounts.clear()
        if len(self._conversations) > CACHED:
            self._conversations.clear()

    def add_account(self, username: str, ts: int) -> Account:
        """See ``AccountStore.add_account``."""
        self._execute(
            "INSERT INTO account (username, seq, ts) VALUES (?, 0, ?)"
            " ON CONFLICT DO NOTHING",
            (username, ts),
        )
        account = self._account(username)
        return Account(account.id, account.username, account.seq)

    def send(self, message: NewMessage) -> StoredMessage:
        """See ``MessageStore.send``."""
        sender = self._account(message.sender)
        digest = message.digest()
        known = self._answer(sender, message.cid)
        if known is not None:
            return stored_before(known, digest)
        if message.to is None:
            conversation = self._conversation_of(sender, message.conv or "")
            peer = self._peer(conversation, sender)
        else:
            peer = self._account(message.to)
            conversation = self._direct(sender, peer, message.ts)
        conversation.n += 1
        self._moved_conversations[conversation.conv] = conversation
        conv, n, ts = conversation.conv, conversation.n, message.ts
        self._execute(
            "INSERT INTO message (conv, n, sender, cid, ts, raw, body)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (conv, n, sender.id, message.cid, ts, message.raw, message.body),
        )
        if peer is None:
            pos = self._log(conversation, EventType.MESSAGE_NEW, ts, n=n)
            answer = StoredMessage(conv, n, ts, pos=pos)
        elif peer is sender:
            answer = StoredMessage(conv, n, ts, self._deliver(sender, conv, n))
        else:
            seq = self._deliver(sender, conv, n)
            peer_seq = self._deliver(peer, conv, n)
            answer = StoredMessage(conv, n, ts, seq, peer.username, peer_seq)
        self._remember(request_row(sender.id, message.cid, digest, answer))
        return answer

    def create_group(self, group: NewGroup) -> ChangedGroup:
        """See ``MessageStore.create_group``."""
        creator = self._account(group.creator)
        digest = group.digest()
        known = self._answer(creator, group.cid)
        if known is not None:
            return changed_before(known, digest)
        usernames = group.members | {group.creator}
        members = [self._account(each) for each in sorted(usernames)]
        if self._conversation(group.conv) is not None:
            raise Conflict("another conversation has this id", field="conv")
        created = self._insert_conversation(group.conv, None, None, group.ts)
        return self._change(
            created, creator, (group.cid, digest, group.ts), add=members, remove=[]
        )

    def change_members(self, change: MemberChange) -> ChangedGroup:
        """See ``MessageStore.change_members``."""
        actor = self._account(change.actor)
        digest = change.digest()
        known = self._answer(actor, change.cid)
        if known is not None:
            return changed_before(known, digest)
        group = self._conversation_of(actor, change.conv)
        if group.one is not None:
            raise no_such_conv()
        add = [self._account(each) for each in sorted(change.add)]
        remove = [self._account(each) for each in sorted(change.remove)]
        return self._change(
            group,
            actor,
            (change.cid, digest, change.ts),
            add=[each for each in add if not self._active(group.conv, each.id)],
            remove=[each for each in remove if self._active(group.conv, each.id)],
        )

    def _change(
        self,
        group: _Conversation,
        actor: _Account,
        request: tuple[str, bytes, int],
        *,
        add: list[_Account],
        remove: list[_Account],
    ) -> ChangedGroup:
        """Make a change that has been checked, and remember it."""
        cid, digest, ts = request
        self._executemany(
            "INSERT INTO member (conv, account, active) VALUES (?, ?, ?)"
            " ON CONFLICT DO UPDATE SET active = excluded.active",
            [(group.conv, each.id, True) for each in add]
            + [(group.conv, each.id, False) for each in remove],
        )
        if add or remove:
            group.revision += 1
            detail = membership_detail(
                (each.username for each in add), (each.username for each in remove)
            )
            self._log(group, EventType.CONV_MEMBER, ts, actor=actor.id, detail=detail)
        answer = ChangedGroup(group.conv, group.pos, group.revision)
        self._remember(change_request_row(actor.id, cid, digest, answer, ts))
        return answer

    def _account(self, username: str) -> _Account:
        found = self._accounts.get(username)
        if found is None:
            row = self._execute(
                "SELECT id, username, seq FROM account WHERE username = ?", (username,)
            ).fetchone()
            if row is None:
                raise no_such_user(username)
            found = self._accounts[username] = _Account(*row)
        return found

    def _conversation(self, conv: str) -> _Conversation | None:
        found = self._conversations.get(conv)
        if found is None:
            row = self._execute(
                "SELECT conv, one, other, n, pos, revision FROM conversation"
                " WHERE conv = ?",
                (conv,),
            ).fetchone()
            if row is None:
                return None
            found = self._conversations[conv] = _Conversation(*row)
        return found

    def _direct(self, sender: _Account, peer: _Account, ts: int) -> _Conversation:
        conv = direct_conv(sender.id, peer.id)
        one, other = sorted((sender.id, peer.id))
        return self._conversation(conv) or self._insert_conversation(
            conv, one, other, ts
        )

    def _insert_conversation(
        self, conv: str, one: int | None, other: int | None, ts: int
    ) -> _Conversation:
        self._execute(
            "INSERT INTO conversation (conv, one, other, n, pos, revision, ts)"
            " VALUES (?, ?, ?, 0, 0, 0, ?)",
            (conv, one, other, ts),
        )
        created = self._conversations[conv] = _Conversation(conv, one, other, 0, 0, 0)
        return created

    def _conversation_of(self, account: _Account, conv: str) -> _Conversation:
        """The conversation, if *account* is in it."""
        conversation = self._conversation(conv)
        if conversation is None:
            raise no_such_conv()
        if conversation.one is None:
            refuse_reader(active=self._active(conv, account.id))
        elif account.id not in {conversation.one, conversation.other}:
            raise no_such_conv()
        return conversation

    def _peer(self, conversation: _Conversation, sender: _Account) -> _Account | None:
        """The other one of a direct conversation; none in a group."""
        if conversation.one is None:
            return None
        ids = (conversation.one, conversation.other)
        peer = ids[1] if ids[0] == sender.id else ids[0]
        (username,) = self._execute(
            "SELECT username FROM account WHERE id = ?", (peer,)
        ).fetchone()
        return self._account(username)

    def _active(self, conv: str, account: int) -> bool | None:
        row = self._execute(
            "SELECT active FROM member WHERE conv = ? AND account = ?", (conv, account)
        ).fetchone()
        return None if row is None else bool(row[0])

    def _deliver(self, account: _Account, conv: str, n: int) -> int:
        """Append a message to a mailbox."""
        account.seq += 1
        self._moved_accounts[account.id] = account
        self._execute(
            "INSERT INTO mailbox (account, seq, t, conv, n) VALUES (?, ?, ?, ?, ?)",
            (account.id, account.seq, EventType.MESSAGE_NEW.value, conv, n),
        )
        return account.seq

    def _log(
        self, group: _Conversation, t: EventType, ts: int, **columns: str | int
    ) -> int:
        """Append an event to a group's log; *columns*: n, actor, detail."""
        group.pos += 1
        self._moved_conversations[group.conv] = group
        get = columns.get
        self._execute(
            "INSERT INTO group_log (conv, pos, t, n, actor, detail, ts)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (group.conv, group.pos, t.value, get("n"), get("actor"), get("detail"), ts),
        )
        return group.pos

    def _answer(self, account: _Account, cid: str) -> tuple[Any, ...] | None:
        row: tuple[Any, ...] | None = self._execute(
            f"SELECT {ANSWER_COLUMNS} FROM request WHERE account = ? AND cid = ?",  # noqa: S608  # constants
            (account.id, cid),
        ).fetchone()
        return row

    def _remember(self, row: tuple[Any, ...]) -> None:
        self._execute(
            "INSERT INTO request (account, cid, digest, conv, n, seq, peer, peer_seq,"
            " pos, revision, ts) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            row,
        )
