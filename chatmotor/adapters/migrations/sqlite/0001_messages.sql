-- SPDX-License-Identifier: Apache-2.0
-- Accounts, conversations, messages and their logs: docs/explanation/store.md.
-- The tables that grow with each message have no foreign keys: their rows are written
-- only with those that they name.

CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO meta VALUES ('epoch', lower(hex(randomblob(16))));

CREATE TABLE account (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    username TEXT NOT NULL UNIQUE,
    display_name TEXT NOT NULL,
    password TEXT,             -- a hash; null: no log-in by password
    admin INTEGER NOT NULL,
    closed INTEGER NOT NULL,
    seq INTEGER NOT NULL,       -- top of the mailbox
    floor INTEGER NOT NULL,     -- what was trimmed of it
    ts INTEGER NOT NULL
) STRICT;
CREATE INDEX account_admin ON account (id) WHERE admin = 1;

CREATE TABLE device (
    account INTEGER NOT NULL REFERENCES account,
    name TEXT NOT NULL,
    cursor INTEGER NOT NULL,    -- highest seq that it has acknowledged
    address BLOB NOT NULL,    -- hash of where it logged in from last
    ts INTEGER NOT NULL,
    seen INTEGER NOT NULL,
    PRIMARY KEY (account, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE token (
    hash TEXT PRIMARY KEY,     -- in hex
    account INTEGER NOT NULL,
    device TEXT NOT NULL,
    ts INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    FOREIGN KEY (account, device) REFERENCES device (account, name) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX token_device ON token (account, device);

CREATE TABLE link (
    hash TEXT PRIMARY KEY,     -- in hex
    kind TEXT NOT NULL,
    account INTEGER REFERENCES account,
    uses INTEGER NOT NULL,
    expires INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE attempt (
    key TEXT PRIMARY KEY,
    count INTEGER NOT NULL,
    expires INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE conversation (
    conv TEXT PRIMARY KEY,
    one INTEGER REFERENCES account,      -- of a direct conversation: the two,
    other INTEGER REFERENCES account,    -- one <= other; of a group: null
    guest TEXT,    -- of a guest's conversation with one: its name
    title TEXT NOT NULL,       -- of a group
    n INTEGER NOT NULL,         -- of the last message
    one_read INTEGER NOT NULL,  -- read pointers of a direct conversation
    other_read INTEGER NOT NULL,
    pos INTEGER NOT NULL,       -- top of the group's log
    revision INTEGER NOT NULL,  -- changes of who is in the group
    members INTEGER NOT NULL,        -- who are in the group now: how many
    ts INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX conversation_one ON conversation (one) WHERE one IS NOT NULL;
CREATE INDEX conversation_other ON conversation (other) WHERE other IS NOT NULL;

-- Whoever was removed keeps the row: a former member is told so, a stranger is not.
CREATE TABLE member (
    conv TEXT NOT NULL REFERENCES conversation,
    account INTEGER NOT NULL REFERENCES account,
    active INTEGER NOT NULL,
    role TEXT NOT NULL,
    read INTEGER NOT NULL,      -- pointer
    ts INTEGER NOT NULL,        -- since when
    PRIMARY KEY (conv, account)
) STRICT, WITHOUT ROWID;
CREATE INDEX member_account ON member (account);

CREATE TABLE message (
    conv TEXT NOT NULL,
    n INTEGER NOT NULL,
    sender INTEGER,             -- null: the conversation's guest
    cid TEXT NOT NULL,
    ts INTEGER NOT NULL,
    peer_seq INTEGER,           -- of a direct message: its place in the other's mailbox
    reply_to INTEGER,
    raw INTEGER NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (conv, n)
) STRICT, WITHOUT ROWID;

-- One row per event and account: direct messages, twice each.
CREATE TABLE mailbox (
    account INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    t TEXT NOT NULL,
    conv TEXT,
    n INTEGER,                  -- of a message
    detail TEXT,               -- of anything else: JSON
    ts INTEGER NOT NULL,
    PRIMARY KEY (account, seq)
) STRICT, WITHOUT ROWID;

-- One row per event of a group, however many members.
CREATE TABLE group_log (
    conv TEXT NOT NULL,
    pos INTEGER NOT NULL,
    t TEXT NOT NULL,
    n INTEGER,                  -- of a message
    detail TEXT,               -- of anything else: JSON
    ts INTEGER NOT NULL,
    PRIMARY KEY (conv, pos)
) STRICT, WITHOUT ROWID;

-- What each cid was used for, and the first answer; kept for ever.
CREATE TABLE request (
    account INTEGER NOT NULL,
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
