-- SPDX-License-Identifier: Apache-2.0
-- Hooks: where an account's events go outside, and how messages come in from there.

CREATE TABLE hook (
    id TEXT COLLATE "C" PRIMARY KEY,
    account BIGINT NOT NULL REFERENCES account ON DELETE CASCADE,
    kind TEXT COLLATE "C" NOT NULL,
    ts BIGINT NOT NULL,
    url TEXT NOT NULL,
    secret TEXT NOT NULL,      -- as it is: it signs
    old_secret TEXT NOT NULL,  -- signs, too, until
    old_until BIGINT NOT NULL,
    types TEXT NOT NULL,       -- of events, as a JSON array; empty: all
    conv TEXT COLLATE "C",     -- null: the whole account
    active SMALLINT NOT NULL,
    revision BIGINT NOT NULL,  -- changes by operators
    seq BIGINT NOT NULL,       -- place in the mailbox
    failures BIGINT NOT NULL,
    failing_since BIGINT,
    next_try BIGINT NOT NULL,
    error TEXT NOT NULL,
    owner TEXT COLLATE "C" NOT NULL,  -- the node that forwards it, until
    lease BIGINT NOT NULL
) WITH (fillfactor = 50);      -- updated often, in place
CREATE INDEX hook_account ON hook (account);

CREATE TABLE hook_place (
    hook TEXT COLLATE "C" NOT NULL REFERENCES hook ON DELETE CASCADE,
    conv TEXT COLLATE "C" NOT NULL,
    pos BIGINT NOT NULL,       -- place in the group's log
    PRIMARY KEY (hook, conv)
) WITH (fillfactor = 50);

CREATE TABLE incoming_hook (
    id TEXT COLLATE "C" PRIMARY KEY,
    code TEXT COLLATE "C" NOT NULL UNIQUE,  -- a hash, in hex
    account BIGINT NOT NULL REFERENCES account ON DELETE CASCADE,
    conv TEXT COLLATE "C" NOT NULL REFERENCES conversation,
    name TEXT NOT NULL,
    ts BIGINT NOT NULL
);
CREATE INDEX incoming_hook_conv ON incoming_hook (conv, account);
CREATE INDEX incoming_hook_account ON incoming_hook (account);
