-- Rows that change with every request get room to do so on their page: no index has to learn of it then.
ALTER TABLE wallets SET (fillfactor = 70);

ALTER TABLE keys SET (fillfactor = 70);

-- What is held may not grow beyond a cap. An operator may lower a cap below what was spent.
CREATE FUNCTION refuse_beyond_cap() RETURNS trigger LANGUAGE plpgsql AS
  'BEGIN RAISE EXCEPTION ''a cap of the key would be passed''; END';

CREATE TRIGGER keys_within_caps BEFORE UPDATE ON keys FOR EACH ROW
  WHEN (NEW.held > OLD.held AND (NEW.spent + NEW.held > NEW.cap OR NEW.day_spent + NEW.held > NEW.cap_day
    OR NEW.month_spent + NEW.held > NEW.cap_month))
  EXECUTE FUNCTION refuse_beyond_cap();
