-- A partner's machine and its terms stay what they were when it was registered: statements tell by them.
CREATE FUNCTION refuse_new_terms() RETURNS trigger LANGUAGE plpgsql AS
  'BEGIN RAISE EXCEPTION ''the terms of a partner are never changed''; END';

CREATE TRIGGER partners_keep_terms BEFORE UPDATE ON partners FOR EACH ROW
  WHEN (NEW.id <> OLD.id OR NEW.name <> OLD.name OR NEW.alias <> OLD.alias OR NEW.share <> OLD.share)
  EXECUTE FUNCTION refuse_new_terms();

CREATE TRIGGER partners_not_deleted BEFORE DELETE ON partners
  FOR EACH ROW EXECUTE FUNCTION refuse_new_terms();
