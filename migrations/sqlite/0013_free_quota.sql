-- What each counter (a process from its start to its end) has counted of a day's quota of free models, so that a start does
-- not forget it. Only of today and yesterday.
CREATE TABLE free_quota_use (
    day INTEGER NOT NULL,
    counter_id BLOB NOT NULL CHECK (length(counter_id) = 16),
    kind TEXT NOT NULL CHECK (kind IN ('account', 'tenant')),
    -- A master_accounts id, or the accounts id of a tenant.
    owner_id BLOB NOT NULL CHECK (length(owner_id) = 16),
    used INTEGER NOT NULL CHECK (used > 0),
    PRIMARY KEY (day, kind, owner_id, counter_id)
) STRICT, WITHOUT ROWID;
