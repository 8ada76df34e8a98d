-- What is personal can be erased, and the audit log's chain still holds.

ALTER TABLE users ADD COLUMN erased_at timestamptz;

-- The hash of an entry covers its salt, too: without it nobody can try out whether the hash is of what he thinks was there.
-- Entries of servers of the version before have none.
ALTER TABLE audit_log
    ADD COLUMN salt uuid,
    -- The entry that tells of the erasure, and has a digest of what is left of all entries that were erased then.
    ADD COLUMN erased_by bigint;

CREATE FUNCTION check_audit_erasure() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.number = OLD.number AND NEW.at = OLD.at AND NEW.actor_id IS NOT DISTINCT FROM OLD.actor_id
        AND NEW.action = OLD.action AND NEW.subject_id = OLD.subject_id AND NEW.hash = OLD.hash
        AND NEW.erased_by > OLD.number AND coalesce(OLD.erased_by, NEW.erased_by) = NEW.erased_by
        AND NEW.actor IN (OLD.actor, 'erased') AND coalesce(NEW.address = OLD.address, NEW.address IS NULL)
        AND NEW.salt IS NULL AND NEW.reason IS NULL AND NEW.before IS NULL
        AND NEW.after IS NOT DISTINCT FROM (CASE OLD.action WHEN 'client.erase' THEN OLD.after END)
    THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'audit_log is append-only' USING ERRCODE = 'restrict_violation', TABLE = 'audit_log';
END $$;

-- Nothing changes but that what is personal goes.
DROP TRIGGER audit_log_keep ON audit_log;
CREATE TRIGGER audit_log_keep BEFORE UPDATE ON audit_log
FOR EACH ROW EXECUTE FUNCTION check_audit_erasure();
