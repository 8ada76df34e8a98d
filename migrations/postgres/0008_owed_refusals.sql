-- Charges that were refused although their clients have had their answers: a loss in their place does not book them.
ALTER TABLE refused_settlements ADD COLUMN is_owed boolean NOT NULL DEFAULT false;
