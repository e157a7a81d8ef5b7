-- Records are append-only, by the database's own word.
CREATE FUNCTION refuse_edit() RETURNS trigger LANGUAGE plpgsql AS
  'BEGIN RAISE EXCEPTION ''records are never edited''; END';

CREATE TRIGGER records_not_edited BEFORE UPDATE OR DELETE ON records
  FOR EACH ROW EXECUTE FUNCTION refuse_edit();

CREATE TRIGGER records_not_truncated BEFORE TRUNCATE ON records
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_edit();

CREATE TRIGGER house_entries_not_edited BEFORE UPDATE OR DELETE ON house_entries
  FOR EACH ROW EXECUTE FUNCTION refuse_edit();

CREATE TRIGGER house_entries_not_truncated BEFORE TRUNCATE ON house_entries
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_edit();
