-- SPDX-License-Identifier: Apache-2.0
-- Accounts, conversations, messages and their logs: docs/explanation/store.md.
-- The tables that grow with each message have no foreign keys: their rows are written
-- only under the locks of the rows that they name.

CREATE TABLE meta (
    name TEXT COLLATE "C" PRIMARY KEY,
    value TEXT NOT NULL
);
INSERT INTO meta VALUES ('epoch', replace(gen_random_uuid()::text, '-', ''));

CREATE TABLE account (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    username TEXT COLLATE "C" NOT NULL UNIQUE,
    display_name TEXT NOT NULL,
    password TEXT,             -- a hash; null: no log-in by password
    admin SMALLINT NOT NULL,
    closed SMALLINT NOT NULL,
    seq BIGINT NOT NULL,       -- top of the mailbox
    floor BIGINT NOT NULL,     -- what was trimmed of it
    ts BIGINT NOT NULL
) WITH (fillfactor = 50);      -- updated often, in place
CREATE INDEX account_admin ON account (id) WHERE admin = 1;

CREATE TABLE device (
    account BIGINT NOT NULL REFERENCES account,
    name TEXT COLLATE "C" NOT NULL,
    cursor BIGINT NOT NULL,    -- highest seq that it has acknowledged
    address BYTEA NOT NULL,    -- hash of where it logged in from last
    ts BIGINT NOT NULL,
    seen BIGINT NOT NULL,
    PRIMARY KEY (account, name)
) WITH (fillfactor = 50);

CREATE TABLE token (
    hash TEXT COLLATE "C" PRIMARY KEY,  -- in hex
    account BIGINT NOT NULL,
    device TEXT COLLATE "C" NOT NULL,
    ts BIGINT NOT NULL,
    expires BIGINT NOT NULL,
    FOREIGN KEY (account, device) REFERENCES device (account, name) ON DELETE CASCADE
);
CREATE INDEX token_device ON token (account, device);

CREATE TABLE link (
    hash TEXT COLLATE "C" PRIMARY KEY,  -- in hex
    kind TEXT COLLATE "C" NOT NULL,
    account BIGINT REFERENCES account,
    uses BIGINT NOT NULL,
    expires BIGINT NOT NULL
);

CREATE TABLE attempt (
    key TEXT COLLATE "C" PRIMARY KEY,
    count BIGINT NOT NULL,
    expires BIGINT NOT NULL
);

CREATE TABLE conversation (
    conv TEXT COLLATE "C" PRIMARY KEY,
    one BIGINT REFERENCES account,      -- of a direct conversation: the two,
    other BIGINT REFERENCES account,    -- one <= other; of a group: null
    guest TEXT COLLATE "C",    -- of a guest's conversation with one: its name
    title TEXT NOT NULL,       -- of a group
    n BIGINT NOT NULL,         -- of the last message
    one_read BIGINT NOT NULL,  -- read pointers of a direct conversation
    other_read BIGINT NOT NULL,
    pos BIGINT NOT NULL,       -- top of the group's log
    revision BIGINT NOT NULL,  -- changes of who is in the group
    members BIGINT NOT NULL,   -- who are in the group now: how many
    ts BIGINT NOT NULL
) WITH (fillfactor = 50);
CREATE INDEX conversation_one ON conversation (one) WHERE one IS NOT NULL;
CREATE INDEX conversation_other ON conversation (other) WHERE other IS NOT NULL;

-- Whoever was removed keeps the row: a former member is told so, a stranger is not.
CREATE TABLE member (
    conv TEXT COLLATE "C" NOT NULL REFERENCES conversation,
    account BIGINT NOT NULL REFERENCES account,
    active SMALLINT NOT NULL,
    role TEXT COLLATE "C" NOT NULL,
    read BIGINT NOT NULL,      -- pointer
    ts BIGINT NOT NULL,        -- since when
    PRIMARY KEY (conv, account)
) WITH (fillfactor = 50);
CREATE INDEX member_account ON member (account);

CREATE TABLE message (
    conv TEXT COLLATE "C" NOT NULL,
    n BIGINT NOT NULL,
    sender BIGINT,             -- null: the conversation's guest
    cid TEXT COLLATE "C" NOT NULL,
    ts BIGINT NOT NULL,
    peer_seq BIGINT,           -- of a direct message: its place in the other's mailbox
    reply_to BIGINT,
    raw BOOLEAN NOT NULL,
    body BYTEA NOT NULL,
    PRIMARY KEY (conv, n)
);

-- One row per event and account: direct messages, twice each.
CREATE TABLE mailbox (
    account BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    t TEXT COLLATE "C" NOT NULL,
    conv TEXT COLLATE "C",
    n BIGINT,                  -- of a message
    detail TEXT,               -- of anything else: JSON
    ts BIGINT NOT NULL,
    PRIMARY KEY (account, seq)
);

-- One row per event of a group, however many members.
CREATE TABLE group_log (
    conv TEXT COLLATE "C" NOT NULL,
    pos BIGINT NOT NULL,
    t TEXT COLLATE "C" NOT NULL,
    n BIGINT,                  -- of a message
    detail TEXT,               -- of anything else: JSON
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
