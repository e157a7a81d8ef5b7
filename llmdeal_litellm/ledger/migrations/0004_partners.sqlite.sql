-- A partner's machine and its terms stay what they were when it was registered: statements tell by them.
CREATE TRIGGER partners_keep_terms BEFORE UPDATE ON partners
  WHEN NEW.id <> OLD.id OR NEW.name <> OLD.name OR NEW.alias <> OLD.alias OR NEW.share <> OLD.share
  BEGIN SELECT RAISE(ABORT, 'the terms of a partner are never changed'); END;

CREATE TRIGGER partners_not_deleted BEFORE DELETE ON partners
  BEGIN SELECT RAISE(ABORT, 'partners are never deleted'); END;
