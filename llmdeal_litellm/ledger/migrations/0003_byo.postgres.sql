-- A row is encrypted anew under another key and nothing else: a key is never moved to another place.
CREATE FUNCTION refuse_move() RETURNS trigger LANGUAGE plpgsql AS
  'BEGIN RAISE EXCEPTION ''an upstream key is never moved''; END';

CREATE TRIGGER byo_keys_not_moved BEFORE UPDATE ON byo_keys FOR EACH ROW
  WHEN (NEW.account_id <> OLD.account_id OR NEW.alias <> OLD.alias OR NEW.provider <> OLD.provider)
  EXECUTE FUNCTION refuse_move();
