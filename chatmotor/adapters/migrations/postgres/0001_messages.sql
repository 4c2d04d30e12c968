-- SPDX-License-Identifier: Apache-2.0
-- Accounts, conversations, messages and their logs: docs/explanation/store.md.
-- The tables that grow with each message have no foreign keys: their rows are written
-- only under the locks of the rows that they name.

CREATE TABLE account (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    username TEXT COLLATE "C" NOT NULL UNIQUE,
    seq BIGINT NOT NULL,       -- top of the mailbox
    ts BIGINT NOT NULL
) WITH (fillfactor = 50);      -- updated often, in place

CREATE TABLE conversation (
    conv TEXT COLLATE "C" PRIMARY KEY,
    one BIGINT REFERENCES account,      -- of a direct conversation: the two,
    other BIGINT REFERENCES account,    -- one <= other; of a group: null
    n BIGINT NOT NULL,         -- of the last message
    pos BIGINT NOT NULL,       -- top of the group's log
    revision BIGINT NOT NULL,  -- changes of who is in the group
    ts BIGINT NOT NULL
) WITH (fillfactor = 50);

-- Whoever was removed keeps the row: a former member is told so, a stranger is not.
CREATE TABLE member (
    conv TEXT COLLATE "C" NOT NULL REFERENCES conversation,
    account BIGINT NOT NULL REFERENCES account,
    active BOOLEAN NOT NULL,
    PRIMARY KEY (conv, account)
);

CREATE TABLE message (
    conv TEXT COLLATE "C" NOT NULL,
    n BIGINT NOT NULL,
    sender BIGINT NOT NULL,
    cid TEXT COLLATE "C" NOT NULL,
    ts BIGINT NOT NULL,
    raw BOOLEAN NOT NULL,
    body BYTEA NOT NULL,
    PRIMARY KEY (conv, n)
);

-- One row per event and account: direct messages, twice each.
CREATE TABLE mailbox (
    account BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    t TEXT COLLATE "C" NOT NULL,
    conv TEXT COLLATE "C" NOT NULL,
    n BIGINT NOT NULL,
    PRIMARY KEY (account, seq)
);

-- One row per event of a group, however many members.
CREATE TABLE group_log (
    conv TEXT COLLATE "C" NOT NULL,
    pos BIGINT NOT NULL,
    t TEXT COLLATE "C" NOT NULL,
    n BIGINT,                  -- of a message
    actor BIGINT,              -- of a change, with
    detail TEXT,               -- JSON: {"added": [...], "removed": [...]}
    ts BIGINT NOT NULL,
    PRIMARY KEY (conv, pos)
);

-- What each cid was used for, and the first answer; kept for ever.
CREATE TABLE request (
    account BIGINT NOT NULL,
    cid TEXT COLLATE "C" NOT NULL,
    digest BYTEA NOT NULL,
    conv TEXT COLLATE "C" NOT NULL,
    n BIGINT,
    seq BIGINT,
    peer TEXT COLLATE "C",
    peer_seq BIGINT,
    pos BIGINT,
    revision BIGINT,
    ts BIGINT NOT NULL,
    PRIMARY KEY (account, cid)
);
