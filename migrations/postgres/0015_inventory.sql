-- Versions of price plans that are to come. What is due becomes a row of plan_versions; until then it may be taken back.
CREATE TABLE scheduled_plan_versions (
    id uuid PRIMARY KEY,
    plan_id bigint NOT NULL REFERENCES plans (id),
    effective_from timestamptz NOT NULL,
    -- JSON: rule, overrides, policy.
    terms text NOT NULL CHECK (terms::json IS NOT NULL)
);
CREATE INDEX scheduled_plan_versions_due ON scheduled_plan_versions (effective_from, id);
CREATE INDEX scheduled_plan_versions_by_plan ON scheduled_plan_versions (plan_id);
