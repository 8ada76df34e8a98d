-- Price tables of compatible servers: versions of the price book under a provider 'compatible:' and the account's id.

-- How such a server is asked for the model. JSON: upstream_model, limit_field, extra_fields; NULL for OpenRouter's models.
ALTER TABLE model_pricing
    ADD COLUMN served_as json,
    ADD CONSTRAINT model_pricing_served_as
        CHECK ((served_as IS NULL) = (NOT starts_with(provider, 'compatible:'))) NOT VALID;

CREATE TRIGGER model_pricing_keep_served_as BEFORE UPDATE OF served_as ON model_pricing
FOR EACH ROW EXECUTE FUNCTION refuse_change();
