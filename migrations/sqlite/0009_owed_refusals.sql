-- Charges that were refused although their clients have had their answers: a loss in their place does not book them.
ALTER TABLE refused_settlements ADD COLUMN is_owed INTEGER NOT NULL DEFAULT 0 CHECK (is_owed IN (0, 1));

-- Refused events that are not booked yet. The two losses are those that a charge corrects
-- (`LossReason::is_corrigible` of the crate billing).
CREATE VIEW unbooked_refusals AS
SELECT s.* FROM refused_settlements s LEFT JOIN request_logs r ON r.id = s.request_id
WHERE r.id IS NULL
    OR (s.is_owed AND r.loss_reason IN ('crash', 'unknown')
        AND r.id NOT IN (SELECT id FROM request_corrections));
