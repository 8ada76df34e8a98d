-- What is personal can be erased, and the audit log's chain still holds.

ALTER TABLE users ADD COLUMN erased_at INTEGER;

-- The hash of an entry covers its salt, too: without it nobody can try out whether the hash is of what he thinks was there.
-- Entries of servers of the version before have none.
ALTER TABLE audit_log ADD COLUMN salt BLOB;
-- The entry that tells of the erasure, and has a digest of what is left of all entries that were erased then.
ALTER TABLE audit_log ADD COLUMN erased_by INTEGER;

-- Nothing changes but that what is personal goes.
DROP TRIGGER audit_log_keep;
CREATE TRIGGER audit_log_keep BEFORE UPDATE ON audit_log
WHEN NOT (
    NEW.number = OLD.number AND NEW.at = OLD.at AND NEW.actor_id IS OLD.actor_id AND NEW.action = OLD.action
    AND NEW.subject_id = OLD.subject_id AND NEW.hash = OLD.hash
    AND NEW.erased_by IS NOT NULL AND NEW.erased_by > OLD.number AND coalesce(OLD.erased_by, NEW.erased_by) = NEW.erased_by
    AND NEW.actor IN (OLD.actor, 'erased') AND (NEW.address IS NULL OR NEW.address IS OLD.address)
    AND NEW.salt IS NULL AND NEW.reason IS NULL AND NEW.before IS NULL
    AND NEW.after IS CASE OLD.action WHEN 'client.erase' THEN OLD.after END
)
BEGIN SELECT RAISE(ABORT, 'audit_log is append-only'); END;
