-- Amounts are nano-USD, times are microseconds of Unix time by the database's host, rates are JSON
-- [input, output, cached_input] or [input, output, cached_input, over_tokens, input, output, cached_input]
-- in pico-USD per token.

CREATE TABLE accounts (
  id             TEXT PRIMARY KEY,
  name           TEXT NOT NULL,
  tier           TEXT NOT NULL,
  frontier_addon INTEGER NOT NULL DEFAULT 0 CHECK (frontier_addon IN (0, 1)),
  frozen         INTEGER NOT NULL DEFAULT 0 CHECK (frozen IN (0, 1)),
  created_at_us  BIGINT NOT NULL
);

-- A customer's two balances. held is the sum of the open holds; version counts the records.
CREATE TABLE wallets (
  account_id TEXT NOT NULL REFERENCES accounts (id),
  wallet     TEXT NOT NULL CHECK (wallet IN ('base', 'frontier')),
  balance    BIGINT NOT NULL DEFAULT 0 CHECK (balance >= 0),
  held       BIGINT NOT NULL DEFAULT 0 CHECK (held >= 0),
  version    BIGINT NOT NULL DEFAULT 0,
  PRIMARY KEY (account_id, wallet),
  CHECK (balance - held >= 0)
);

CREATE TABLE keys (
  id            TEXT PRIMARY KEY,
  account_id    TEXT NOT NULL REFERENCES accounts (id),
  digest        BLOB NOT NULL UNIQUE,
  created_at_us BIGINT NOT NULL,
  revoked_at_us BIGINT,
  cap           BIGINT CHECK (cap >= 0),
  spent         BIGINT NOT NULL DEFAULT 0 CHECK (spent >= 0),
  held          BIGINT NOT NULL DEFAULT 0 CHECK (held >= 0),
  open_holds    BIGINT NOT NULL DEFAULT 0 CHECK (open_holds >= 0),
  empty_day     BIGINT NOT NULL DEFAULT 0,
  empty_count   BIGINT NOT NULL DEFAULT 0
);

CREATE INDEX keys_account ON keys (account_id);

-- Holds that have not ended. leg: a request that is handed from one alias to another has two.
CREATE TABLE open_holds (
  request_id       TEXT NOT NULL,
  leg              INTEGER NOT NULL DEFAULT 0,
  account_id       TEXT NOT NULL,
  wallet           TEXT NOT NULL,
  key_id           TEXT NOT NULL,
  alias            TEXT NOT NULL,
  amount           BIGINT NOT NULL CHECK (amount >= 0),
  input_part       BIGINT NOT NULL,
  own_input        BIGINT NOT NULL,
  output_limit     BIGINT NOT NULL,
  rates            TEXT NOT NULL,
  rate_version     TEXT NOT NULL,
  paid_rates       TEXT,
  idempotency_key  TEXT,
  opened_at_us     BIGINT NOT NULL,
  lease_owner      TEXT NOT NULL,
  lease_until_us   BIGINT NOT NULL,
  delivered_at_us  BIGINT,
  delivered_output BIGINT NOT NULL DEFAULT 0,
  PRIMARY KEY (request_id, leg)
);

CREATE INDEX open_holds_account ON open_holds (account_id, wallet);

CREATE INDEX open_holds_lease ON open_holds (lease_until_us);

-- Append-only: every event that touches a wallet, in the order of its versions.
CREATE TABLE records (
  account_id     TEXT NOT NULL,
  wallet         TEXT NOT NULL,
  version        BIGINT NOT NULL,
  kind           TEXT NOT NULL CHECK (kind IN ('credit', 'dispute', 'hold', 'extend', 'post', 'void')),
  balance_change BIGINT NOT NULL,
  held_change    BIGINT NOT NULL,
  balance_after  BIGINT NOT NULL,
  held_after     BIGINT NOT NULL,
  at_us          BIGINT NOT NULL,
  request_id     TEXT,
  leg            INTEGER,
  key_id         TEXT,
  alias          TEXT,
  rule           TEXT,
  input_tokens   BIGINT,
  output_tokens  BIGINT,
  cached_tokens  BIGINT,
  claimed_input  BIGINT,
  claimed_output BIGINT,
  marks          TEXT,
  served_by      TEXT,
  rates          TEXT,
  rate_version   TEXT,
  note           TEXT,
  PRIMARY KEY (account_id, wallet, version)
);

CREATE UNIQUE INDEX records_end ON records (request_id, leg) WHERE kind IN ('post', 'void');

CREATE INDEX records_key ON records (key_id, at_us) WHERE kind = 'post';

-- Append-only: the house's side of each record. One row per payee.
CREATE TABLE house_entries (
  account_id TEXT NOT NULL,
  wallet     TEXT NOT NULL,
  version    BIGINT NOT NULL,
  house      TEXT NOT NULL,
  amount     BIGINT NOT NULL,
  PRIMARY KEY (account_id, wallet, version, house)
);

-- What belongs to this database and nothing else, such as the fingerprint of the key pepper.
CREATE TABLE settings (
  name  TEXT PRIMARY KEY,
  value TEXT NOT NULL
);
