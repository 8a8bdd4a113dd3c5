-- A change of the encoder, with the templates of both side by side.

-- The aligned pictures that templates were made from, where the operator keeps them: another encoder makes its own templates
-- of them.
CREATE TABLE crops (
    template INTEGER PRIMARY KEY REFERENCES templates (id) ON DELETE CASCADE,
    -- A JPEG under the key of the template's person.
    sealed   BLOB NOT NULL CHECK (length(sealed) <= 65536)
) STRICT;

-- The change under way, if one is.
CREATE TABLE model_migration (
    only_row   INTEGER PRIMARY KEY CHECK (only_row = 1),
    -- The installed networks by name, and their ids.
    from_name  TEXT    NOT NULL CHECK (length(from_name) > 0),
    from_model TEXT    NOT NULL CHECK (length(from_model) BETWEEN 1 AND 200),
    to_name    TEXT    NOT NULL CHECK (length(to_name) > 0),
    to_model   TEXT    NOT NULL CHECK (length(to_model) BETWEEN 1 AND 200),
    began      INTEGER NOT NULL,
    began_by   TEXT    NOT NULL,
    -- Set at its end: what there is of this one is being taken out, a step at a time.
    removes    TEXT    CHECK (removes IN (from_model, to_model)),
    CHECK (from_model <> to_model)
) STRICT;
