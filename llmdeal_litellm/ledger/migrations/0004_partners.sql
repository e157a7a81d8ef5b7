-- Partners' machines, which serve consortium aliases for a share of what they earn. A removed one stays, for its
-- statements: its name is never given to another one. share: basis points of each charge. state: probing until a
-- probe has passed and while the last one failed, active when it may be called, paused by the operator, removed. why: what the last
-- probe or the operator said. probe_after_us: when the next probe is due; a worker takes it by putting it off.
CREATE TABLE partners (
  id             TEXT PRIMARY KEY,
  name           TEXT NOT NULL UNIQUE,
  alias          TEXT NOT NULL,
  base_url       TEXT NOT NULL,
  model          TEXT NOT NULL,
  sealed_key     TEXT,
  capacity       BIGINT NOT NULL CHECK (capacity > 0),
  share          BIGINT NOT NULL CHECK (share BETWEEN 0 AND 10000),
  state          TEXT NOT NULL CHECK (state IN ('probing', 'active', 'paused', 'removed')),
  why            TEXT NOT NULL DEFAULT '',
  strikes        BIGINT NOT NULL DEFAULT 0 CHECK (strikes >= 0),
  created_at_us  BIGINT NOT NULL,
  changed_at_us  BIGINT NOT NULL,
  probed_at_us   BIGINT,
  probe_after_us BIGINT NOT NULL DEFAULT 0
);

-- Who is owed a share of a charge: of a hold once output has reached the caller, of a record once it is charged or given back.
ALTER TABLE open_holds ADD COLUMN payee TEXT;

ALTER TABLE open_holds ADD COLUMN payee_share BIGINT CHECK (payee_share BETWEEN 0 AND 10000);

ALTER TABLE records ADD COLUMN payee TEXT;

ALTER TABLE records ADD COLUMN payee_share BIGINT CHECK (payee_share BETWEEN 0 AND 10000);

CREATE INDEX records_payee ON records (payee, at_us) WHERE payee IS NOT NULL;

-- A refund is a credit whose rule says so. Each charge is given back once.
CREATE UNIQUE INDEX records_refund ON records (request_id, leg) WHERE rule = 'refund';
