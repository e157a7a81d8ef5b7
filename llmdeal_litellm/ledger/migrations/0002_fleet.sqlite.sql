-- What is held may not grow beyond a cap. An operator may lower a cap below what was spent.
CREATE TRIGGER keys_within_caps BEFORE UPDATE ON keys
  WHEN NEW.held > OLD.held AND (NEW.spent + NEW.held > NEW.cap OR NEW.day_spent + NEW.held > NEW.cap_day
    OR NEW.month_spent + NEW.held > NEW.cap_month)
  BEGIN SELECT RAISE(ABORT, 'a cap of the key would be passed'); END;
