-- A row is encrypted anew under another key and nothing else: a key is never moved to another place.
CREATE TRIGGER byo_keys_not_moved BEFORE UPDATE ON byo_keys
  WHEN NEW.account_id <> OLD.account_id OR NEW.alias <> OLD.alias OR NEW.provider <> OLD.provider
  BEGIN SELECT RAISE(ABORT, 'an upstream key is never moved'); END;
