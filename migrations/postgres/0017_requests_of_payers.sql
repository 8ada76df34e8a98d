-- no-transaction
-- A page of an account's requests, in the order of their ids. Nobody waits while it is built; what an attempt that was cut
-- off left of it is dropped before (crates/store-postgres/src/migrate.rs). Such a file has one statement.
CREATE INDEX CONCURRENTLY IF NOT EXISTS request_logs_by_payer ON request_logs (payer_id, id);
