-- Charges that were refused although their clients have had their answers: a loss in their place does not book them.
ALTER TABLE refused_settlements ADD COLUMN is_owed boolean NOT NULL DEFAULT false;

-- That it is owed may become known later; nothing else changes.
DROP TRIGGER refused_settlements_keep ON refused_settlements;
CREATE TRIGGER refused_settlements_keep
BEFORE UPDATE OF id, request_id, replica_id, refused_at, reason, event, list_cost, cost_nanos, price_nanos
ON refused_settlements FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER refused_settlements_owed BEFORE UPDATE OF is_owed ON refused_settlements
FOR EACH ROW WHEN (NOT NEW.is_owed) EXECUTE FUNCTION refuse_change();

-- Refused events that are not booked yet. The two losses are those that a charge corrects
-- (`LossReason::is_corrigible` of the crate billing).
CREATE VIEW unbooked_refusals AS
SELECT s.* FROM refused_settlements s LEFT JOIN request_logs r ON r.id = s.request_id
WHERE r.id IS NULL
    OR (s.is_owed AND r.loss_reason IN ('crash', 'unknown')
        AND NOT EXISTS (SELECT FROM request_corrections c WHERE c.id = r.id));
