-- SPDX-License-Identifier: Apache-2.0
-- Accounts, conversations, messages and their logs: docs/explanation/store.md.

CREATE TABLE account (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    username TEXT NOT NULL UNIQUE,
    seq INTEGER NOT NULL,       -- top of the mailbox
    ts INTEGER NOT NULL
) STRICT;

CREATE TABLE conversation (
    conv TEXT PRIMARY KEY,
    one INTEGER REFERENCES account,      -- of a direct conversation: the two,
    other INTEGER REFERENCES account,    -- one <= other; of a group: null
    n INTEGER NOT NULL,         -- of the last message
    pos INTEGER NOT NULL,       -- top of the group's log
    revision INTEGER NOT NULL,  -- changes of who is in the group
    ts INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Whoever was removed keeps the row: a former member is told so, a stranger is not.
CREATE TABLE member (
    conv TEXT NOT NULL REFERENCES conversation,
    account INTEGER NOT NULL REFERENCES account,
    active INTEGER NOT NULL,
    PRIMARY KEY (conv, account)
) STRICT, WITHOUT ROWID;

CREATE TABLE message (
    conv TEXT NOT NULL REFERENCES conversation,
    n INTEGER NOT NULL,
    sender INTEGER NOT NULL REFERENCES account,
    cid TEXT NOT NULL,
    ts INTEGER NOT NULL,
    raw INTEGER NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (conv, n)
) STRICT, WITHOUT ROWID;

-- One row per event and account: direct messages, twice each.
CREATE TABLE mailbox (
    account INTEGER NOT NULL REFERENCES account,
    seq INTEGER NOT NULL,
    t TEXT NOT NULL,
    conv TEXT NOT NULL,
    n INTEGER NOT NULL,
    PRIMARY KEY (account, seq)
) STRICT, WITHOUT ROWID;

-- One row per event of a group, however many members.
CREATE TABLE group_log (
    conv TEXT NOT NULL REFERENCES conversation,
    pos INTEGER NOT NULL,
    t TEXT NOT NULL,
    n INTEGER,                  -- of a message
    actor INTEGER REFERENCES account,  -- of a change, with
    detail TEXT,                -- JSON: {"added": [...], "removed": [...]}
    ts INTEGER NOT NULL,
    PRIMARY KEY (conv, pos)
) STRICT, WITHOUT ROWID;

-- What each cid was used for, and the first answer; kept for ever.
CREATE TABLE request (
    account INTEGER NOT NULL REFERENCES account,
    cid TEXT NOT NULL,
    digest BLOB NOT NULL,
    conv TEXT NOT NULL,
    n INTEGER,
    seq INTEGER,
    peer TEXT,
    peer_seq INTEGER,
    pos INTEGER,
    revision INTEGER,
    ts INTEGER NOT NULL,
    PRIMARY KEY (account, cid)
) STRICT, WITHOUT ROWID;
