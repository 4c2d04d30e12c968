-- SPDX-License-Identifier: Apache-2.0
-- Hooks: where an account's events go outside, and how messages come in from there.

CREATE TABLE hook (
    id TEXT PRIMARY KEY,
    account INTEGER NOT NULL REFERENCES account ON DELETE CASCADE,
    kind TEXT NOT NULL,
    ts INTEGER NOT NULL,
    url TEXT NOT NULL,
    secret TEXT NOT NULL,      -- as it is: it signs
    old_secret TEXT NOT NULL,  -- signs, too, until
    old_until INTEGER NOT NULL,
    types TEXT NOT NULL,       -- of events, as a JSON array; empty: all
    conv TEXT,     -- null: the whole account
    active INTEGER NOT NULL,
    revision INTEGER NOT NULL,  -- changes by operators
    seq INTEGER NOT NULL,       -- place in the mailbox
    failures INTEGER NOT NULL,
    failing_since INTEGER,
    next_try INTEGER NOT NULL,
    error TEXT NOT NULL,
    owner TEXT NOT NULL,  -- the node that forwards it, until
    lease INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX hook_account ON hook (account);

CREATE TABLE hook_place (
    hook TEXT NOT NULL REFERENCES hook ON DELETE CASCADE,
    conv TEXT NOT NULL,
    pos INTEGER NOT NULL,       -- place in the group's log
    PRIMARY KEY (hook, conv)
) STRICT, WITHOUT ROWID;

CREATE TABLE incoming_hook (
    id TEXT PRIMARY KEY,
    code TEXT NOT NULL UNIQUE,  -- a hash, in hex
    account INTEGER NOT NULL REFERENCES account ON DELETE CASCADE,
    conv TEXT NOT NULL REFERENCES conversation,
    name TEXT NOT NULL,
    ts INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX incoming_hook_conv ON incoming_hook (conv, account);
CREATE INDEX incoming_hook_account ON incoming_hook (account);
