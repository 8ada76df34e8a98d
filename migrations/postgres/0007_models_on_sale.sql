-- What the operator decided about models; one that is not here is on sale.
CREATE TABLE models_on_sale (
    model text COLLATE "C" PRIMARY KEY CHECK (length(model) BETWEEN 1 AND 256),
    state text COLLATE "C" NOT NULL CHECK (state IN ('hidden', 'disabled', 'on_sale'))
);

-- Names of the operator's own. The preferred model comes first.
CREATE TABLE model_aliases (
    alias text COLLATE "C" PRIMARY KEY CHECK (length(alias) BETWEEN 1 AND 256 AND strpos(alias, ':') = 0),
    models text[] COLLATE "C" NOT NULL
        CHECK (cardinality(models) BETWEEN 1 AND 8 AND array_position(models, NULL) IS NULL)
);

CREATE TABLE sale_settings (
    name text COLLATE "C" PRIMARY KEY CHECK (name IN ('default_model')),
    value text COLLATE "C" NOT NULL CHECK (length(value) BETWEEN 1 AND 256)
);

CREATE TRIGGER models_on_sale_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON models_on_sale
FOR EACH STATEMENT EXECUTE FUNCTION prices_changed();
CREATE TRIGGER model_aliases_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON model_aliases
FOR EACH STATEMENT EXECUTE FUNCTION prices_changed();
CREATE TRIGGER sale_settings_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON sale_settings
FOR EACH STATEMENT EXECUTE FUNCTION prices_changed();
