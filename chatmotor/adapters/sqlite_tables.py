# SPDX-License-Identifier: Apache-2.0
"""Sends, one after the other, inside the transaction of the writer thread.

    decide (nothing is written yet; may refuse) --> number --> remember the rows

Nobody else writes to the file, so the counters of accounts and conversations are kept
in memory.  They and the new rows are ahead of the disk while a transaction is open:
``flush`` puts them into it, many rows by one statement, and after a rollback ``forget``
drops them all.  Everything that is not a send is a script, which reads and writes the
tables themselves: see ``run``.
"""

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from chatmotor.adapters.sql_script import Script, run_on_sqlite
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

# Accounts and conversations in memory, each; then the oldest knowledge is dropped.
CACHED = 50_000

T = TypeVar("T")

_ACCOUNT = "SELECT id, username, seq, closed FROM account WHERE username = ?"
_USERNAME = "SELECT username FROM account WHERE id = ?"
_CONVERSATION = """
SELECT conv, one, other, n, one_read, other_read, pos FROM conversation WHERE conv = ?
"""
_CREATE = """
INSERT INTO conversation
    (conv, one, other, title, n, one_read, other_read, pos, revision, members, ts)
VALUES (?, ?, ?, '', 0, 0, 0, 0, 0, 0, ?)
"""
_ACTIVE = "SELECT active FROM member WHERE conv = ? AND account = ?"
_ANSWER = f"SELECT {ANSWER_COLUMNS} FROM request WHERE account = ? AND cid = ?"  # noqa: S608  # constants
_REMEMBER = """
INSERT INTO request (account, cid, digest, conv, n, seq, peer, peer_seq, pos, revision,
    ts)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_MESSAGE = """
INSERT INTO message (conv, n, sender, cid, ts, peer_seq, reply_to, raw, body)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_DELIVER = f"""
INSERT INTO mailbox (account, seq, t, conv, n, ts)
VALUES (?, ?, '{EventType.MESSAGE_NEW.value}', ?, ?, ?)
"""  # noqa: S608  # a constant
_LOG = f"""
INSERT INTO group_log (conv, pos, t, n, ts)
VALUES (?, ?, '{EventType.MESSAGE_NEW.value}', ?, ?)
"""  # noqa: S608  # a constant
_SET_SEQ = "UPDATE account SET seq = ? WHERE id = ?"
_SET_CONVERSATION = """
UPDATE conversation SET n = ?, one_read = ?, other_read = ?, pos = ? WHERE conv = ?
"""
_SET_READ = "UPDATE member SET read = ? WHERE conv = ? AND account = ?"


@dataclass(slots=True)
class _Account:
    id: int
    username: str
    seq: int
    closed: int


@dataclass(slots=True)
class _Conversation:
    conv: str
    one: int | None
    other: int | None
    n: int
    one_read: int
    other_read: int
    pos: int


class Tables:
    """
    What the writer thread does to the tables.

    Args:
        connection: The writer's, with a transaction open whenever a write is called.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._execute = connection.execute
        self._executemany = connection.executemany
        self._accounts: dict[str, _Account] = {}
        self._usernames: dict[int, str] = {}
        self._conversations: dict[str, _Conversation] = {}
        self._moved_accounts: dict[int, _Account] = {}
        self._moved_conversations: dict[str, _Conversation] = {}
        self._moved_members: dict[tuple[str, int], int] = {}
        self._messages: list[tuple[Any, ...]] = []
        self._events: list[tuple[Any, ...]] = []
        self._logs: list[tuple[Any, ...]] = []
        self._requests: dict[tuple[int, str], tuple[Any, ...]] = {}

    def flush(self) -> None:
        """Write what is new and the counters that have moved, before COMMIT."""
        self._executemany(_MESSAGE, self._messages)
        self._executemany(_DELIVER, self._events)
        self._executemany(_LOG, self._logs)
        self._executemany(_REMEMBER, self._requests.values())
        self._executemany(
            _SET_SEQ, [(each.seq, each.id) for each in self._moved_accounts.values()]
        )
        self._executemany(
            _SET_CONVERSATION,
            [
                (each.n, each.one_read, each.other_read, each.pos, each.conv)
                for each in self._moved_conversations.values()
            ],
        )
        self._executemany(
            _SET_READ, [(n, *member) for member, n in self._moved_members.items()]
        )
        self._clear()

    def forget(self) -> None:
        """After a rollback: what is in memory is not what is on disk."""
        self._accounts.clear()
        self._conversations.clear()
        self._clear()

    def _clear(self) -> None:
        self._moved_accounts.clear()
        self._moved_conversations.clear()
        self._moved_members.clear()
        self._messages.clear()
        self._events.clear()
        self._logs.clear()
        self._requests.clear()

    def trim(self) -> None:
        """Keep the memory bounded; call it between transactions only."""
        if len(self._accounts) > CACHED:
            self._accounts.clear()
        if len(self._usernames) > CACHED:
            self._usernames.clear()
        if len(self._conversations) > CACHED:
            self._conversations.clear()

    def run(self, script: Script[T], *, moves: Iterable[str]) -> T:
        """
        Run *script* on the tables as they are after the sends so far.

        Args:
            moves: Usernames and conversations whose counters, or whether they are
                closed, it may change; they are read again when they are needed.

        Raises:
            RequestRefused: It did, and has left no trace.
        """
        self.flush()
        self._execute("SAVEPOINT script")
        try:
            result = run_on_sqlite(self._connection, script)
        except RequestRefused:
            self._execute("ROLLBACK TO script")
            self._execute("RELEASE script")
            raise
        self._execute("RELEASE script")
        for each in moves:
            self._accounts.pop(each, None)
            self._conversations.pop(each, None)
        return result

    def send(self, message: NewMessage) -> StoredMessage:
        """See ``MessageStore.send``."""
        sender = self._account(message.sender)
        digest = message.digest()
        request = (sender.id, message.cid)
        if request in self._requests:
            return stored_before(self._requests[request][2:], digest)
        known = self._execute(_ANSWER, request).fetchone()
        if known is not None:
            return stored_before(known, digest)
        peer, conversation = self._destination(message, sender)
        conversation.n += 1
        self._moved_conversations[conversation.conv] = conversation
        conv, n, ts = conversation.conv, conversation.n, message.ts
        if peer is None:
            answer = StoredMessage(conv, n, ts, pos=self._log(conversation, ts))
            self._moved_members[(conv, sender.id)] = n
        else:
            if sender.id == conversation.one:
                conversation.one_read = n
            else:
                conversation.other_read = n
            seq = self._deliver(sender, conv, n, ts)
            if peer is sender:
                answer = StoredMessage(conv, n, ts, seq)
            else:
                peer_seq = self._deliver(peer, conv, n, ts)
                answer = StoredMessage(conv, n, ts, seq, peer.username, peer_seq)
        row = (conv, n, sender.id, message.cid, ts, answer.peer_seq, message.reply_to)
        self._messages.append((*row, message.raw, message.body))
        self._requests[request] = request_row(*request, digest, answer)
        return answer

    def _destination(
        self, message: NewMessage, sender: _Account
    ) -> tuple[_Account | None, _Conversation]:
        """To whom, if to no group, and where; nothing is written when refused."""
        if message.to is not None:
            peer = self._account(message.to)
            _check_open(sender, peer)
            return peer, self._direct(sender, peer, message.ts)
        conversation = self._conversation(message.conv or "")
        if conversation is None:
            raise no_such_conv()
        one, other = conversation.one, conversation.other
        if one is None:
            refuse_reader(active=self._active(conversation.conv, sender.id))
            _check_open(sender, sender)
            return None, conversation
        if sender.id not in {one, other}:
            raise no_such_conv()
        if other is None:
            _check_open(sender, sender)
            raise guests_cannot_be_answered()
        peer = self._account_of(other if one == sender.id else one)
        _check_open(sender, peer)
        return peer, conversation

    def _account(self, username: str) -> _Account:
        found = self._accounts.get(username)
        if found is None:
            row = self._execute(_ACCOUNT, (username,)).fetchone()
            if row is None:
                raise no_such_user(username)
            found = self._accounts[username] = _Account(*row)
        return found

    def _account_of(self, account: int) -> _Account:
        """An account that exists, by its id."""
        username = self._usernames.get(account)
        if username is None:
            (username,) = self._execute(_USERNAME, (account,)).fetchone()
            self._usernames[account] = username
        return self._account(username)

    def _conversation(self, conv: str) -> _Conversation | None:
        found = self._conversations.get(conv)
        if found is None:
            row = self._execute(_CONVERSATION, (conv,)).fetchone()
            if row is None:
                return None
            found = self._conversations[conv] = _Conversation(*row)
        return found

    def _direct(self, sender: _Account, peer: _Account, ts: int) -> _Conversation:
        conv = direct_conv(sender.id, peer.id)
        found = self._conversation(conv)
        if found is None:
            one, other = sorted((sender.id, peer.id))
            self._execute(_CREATE, (conv, one, other, ts))
            found = _Conversation(
                conv, one, other, n=0, one_read=0, other_read=0, pos=0
            )
            self._conversations[conv] = found
        return found

    def _active(self, conv: str, account: int) -> bool | None:
        row: Any = self._execute(_ACTIVE, (conv, account)).fetchone()
        return None if row is None else bool(row[0])

    def _deliver(self, account: _Account, conv: str, n: int, ts: int) -> int:
        """Append a message to a mailbox."""
        account.seq += 1
        self._moved_accounts[account.id] = account
        self._events.append((account.id, account.seq, conv, n, ts))
        return account.seq

    def _log(self, group: _Conversation, ts: int) -> int:
        """Append the last message to its group's log."""
        group.pos += 1
        self._logs.append((group.conv, group.pos, group.n, ts))
        return group.pos


def _check_open(sender: _Account, recipient: _Account) -> None:
    if sender.closed:
        raise suspended()
    if recipient.closed:
        raise cannot_be_written_to()
