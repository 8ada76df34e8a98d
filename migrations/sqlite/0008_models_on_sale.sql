-- What the operator decided about models; one that is not here is on sale.
CREATE TABLE models_on_sale (
    model TEXT PRIMARY KEY CHECK (length(model) BETWEEN 1 AND 256),
    state TEXT NOT NULL CHECK (state IN ('hidden', 'disabled', 'on_sale'))
) STRICT, WITHOUT ROWID;

-- Names of the operator's own. The models are a JSON array of ids, the preferred one first.
CREATE TABLE model_aliases (
    alias TEXT PRIMARY KEY CHECK (length(alias) BETWEEN 1 AND 256 AND alias NOT LIKE '%:%'),
    models TEXT NOT NULL CHECK (json_type(models) = 'array' AND json_array_length(models) BETWEEN 1 AND 8)
) STRICT, WITHOUT ROWID;

CREATE TABLE sale_settings (
    name TEXT PRIMARY KEY CHECK (name IN ('default_model')),
    value TEXT NOT NULL CHECK (length(value) BETWEEN 1 AND 256)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER models_on_sale_added AFTER INSERT ON models_on_sale
BEGIN INSERT INTO change_log (kind) VALUES ('prices'); END;
CREATE TRIGGER models_on_sale_changed AFTER UPDATE ON models_on_sale
BEGIN INSERT INTO change_log (kind) VALUES ('prices'); END;
CREATE TRIGGER models_on_sale_removed AFTER DELETE ON models_on_sale
BEGIN INSERT INTO change_log (kind) VALUES ('prices'); END;
CREATE TRIGGER model_aliases_added AFTER INSERT ON model_aliases
BEGIN INSERT INTO change_log (kind) VALUES ('prices'); END;
CREATE TRIGGER model_aliases_changed AFTER UPDATE ON model_aliases
BEGIN INSERT INTO change_log (kind) VALUES ('prices'); END;
CREATE TRIGGER model_aliases_removed AFTER DELETE ON model_aliases
BEGIN INSERT INTO change_log (kind) VALUES ('prices'); END;
CREATE TRIGGER sale_settings_added AFTER INSERT ON sale_settings
BEGIN INSERT INTO change_log (kind) VALUES ('prices'); END;
CREATE TRIGGER sale_settings_changed AFTER UPDATE ON sale_settings
BEGIN INSERT INTO change_log (kind) VALUES ('prices'); END;
CREATE TRIGGER sale_settings_removed AFTER DELETE ON sale_settings
BEGIN INSERT INTO change_log (kind) VALUES ('prices'); END;
