-- Price tables of compatible servers: versions of the price book under a provider 'compatible:' and the account's id.

-- How such a server is asked for the model. JSON: upstream_model, limit_field, extra_fields; NULL for OpenRouter's models.
ALTER TABLE model_pricing ADD COLUMN served_as TEXT
    CHECK (served_as IS NULL OR (json_valid(served_as) AND provider LIKE 'compatible:%'));

CREATE TRIGGER model_pricing_keep_served_as BEFORE UPDATE OF served_as ON model_pricing
BEGIN SELECT RAISE(ABORT, 'the prices of model_pricing are append-only'); END;
