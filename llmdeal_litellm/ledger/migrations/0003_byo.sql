-- Customers' own upstream keys, each encrypted and bound to its account, alias and provider. key_id names the key-encryption key; sealed
-- is a nonce of 12 bytes, the ciphertext and its tag.
CREATE TABLE byo_keys (
  account_id        TEXT NOT NULL REFERENCES accounts (id),
  alias             TEXT NOT NULL,
  provider          TEXT NOT NULL,
  model             TEXT NOT NULL,
  kind              TEXT NOT NULL CHECK (kind IN ('chat', 'embedding')),
  context_window    BIGINT NOT NULL CHECK (context_window > 0),
  max_output_tokens BIGINT NOT NULL CHECK (max_output_tokens > 0),
  vision            INTEGER NOT NULL CHECK (vision IN (0, 1)),
  reasoning         INTEGER NOT NULL CHECK (reasoning IN (0, 1)),
  dimensions        BIGINT CHECK (dimensions > 0),
  key_id            TEXT NOT NULL,
  sealed            BLOB NOT NULL,
  created_at_us     BIGINT NOT NULL,
  PRIMARY KEY (account_id, alias)
);
