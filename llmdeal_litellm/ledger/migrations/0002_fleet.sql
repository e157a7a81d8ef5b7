-- A key's caps per UTC day and month, beside the one over its life, and what it spent in the day and month that
-- it was last charged in. Days count from 1970-01-01, months are 12 × year + month.
ALTER TABLE keys ADD COLUMN cap_day BIGINT CHECK (cap_day >= 0);

ALTER TABLE keys ADD COLUMN cap_month BIGINT CHECK (cap_month >= 0);

ALTER TABLE keys ADD COLUMN day BIGINT NOT NULL DEFAULT 0;

ALTER TABLE keys ADD COLUMN day_spent BIGINT NOT NULL DEFAULT 0 CHECK (day_spent >= 0);

ALTER TABLE keys ADD COLUMN month BIGINT NOT NULL DEFAULT 0;

ALTER TABLE keys ADD COLUMN month_spent BIGINT NOT NULL DEFAULT 0 CHECK (month_spent >= 0);

-- Requests that named an Idempotency-Key, by a digest of the account and the key. running: its hold is open; kept: finished, with the answer to give
-- again (encrypted); spent: it was charged, and there is no whole answer to give.
CREATE TABLE idempotency (
  key_digest    TEXT PRIMARY KEY,
  account_id    TEXT NOT NULL REFERENCES accounts (id),
  body_digest   TEXT NOT NULL,
  request_id    TEXT NOT NULL UNIQUE,
  state         TEXT NOT NULL CHECK (state IN ('running', 'kept', 'spent')),
  answer        TEXT,
  expires_at_us BIGINT NOT NULL
);

CREATE INDEX idempotency_expiry ON idempotency (expires_at_us);

-- Nothing asks for it, and every charge paid for it.
DROP INDEX records_key;
