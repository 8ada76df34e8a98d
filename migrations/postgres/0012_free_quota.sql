-- What each counter (a replica from its start to its end) has counted of a day's quota of free models, so that replicas
-- share it and a start does not forget it. Only of today and yesterday.
CREATE TABLE free_quota_use (
    day timestamptz NOT NULL,
    counter_id uuid NOT NULL,
    kind text COLLATE "C" NOT NULL CHECK (kind IN ('account', 'tenant')),
    -- A master_accounts id, or the accounts id of a tenant.
    owner_id uuid NOT NULL,
    used bigint NOT NULL CHECK (used > 0),
    PRIMARY KEY (day, kind, owner_id, counter_id)
) WITH (fillfactor = 70);
