-- Records are append-only, by the database's own word.
CREATE TRIGGER records_not_updated BEFORE UPDATE ON records
  BEGIN SELECT RAISE(ABORT, 'records are never edited'); END;

CREATE TRIGGER records_not_deleted BEFORE DELETE ON records
  BEGIN SELECT RAISE(ABORT, 'records are never edited'); END;

CREATE TRIGGER house_entries_not_updated BEFORE UPDATE ON house_entries
  BEGIN SELECT RAISE(ABORT, 'records are never edited'); END;

CREATE TRIGGER house_entries_not_deleted BEFORE DELETE ON house_entries
  BEGIN SELECT RAISE(ABORT, 'records are never edited'); END;
