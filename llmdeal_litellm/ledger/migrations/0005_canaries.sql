-- What the strikes against a partner's machine were for, oldest first, and when the last one fell.
ALTER TABLE partners ADD COLUMN struck_for TEXT NOT NULL DEFAULT '';

ALTER TABLE partners ADD COLUMN struck_at_us BIGINT;
