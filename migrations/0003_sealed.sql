-- Templates are sealed with a key per person, which is itself sealed with the device's key. What was stored in the clear
-- is sealed by the program in the same transaction, and `plain_templates` dropped (src/store/sealing.rs).

-- One row: which device key the keys of people are sealed with.
CREATE TABLE sealing (
    only_row   INTEGER PRIMARY KEY CHECK (only_row = 1),
    device_key TEXT NOT NULL CHECK (length(device_key) = 32)
) STRICT;

CREATE TABLE person_keys (
    person  INTEGER PRIMARY KEY REFERENCES people (id) ON DELETE CASCADE,
    -- Tells the key from others; the key cannot be found from it.
    key_id  TEXT NOT NULL CHECK (length(key_id) = 32),
    -- The key under the device's key: version, nonce, 32 bytes, tag. Empty in a backup, which holds no keys.
    wrapped BLOB NOT NULL CHECK (length(wrapped) IN (0, 73))
) STRICT;

ALTER TABLE templates RENAME TO plain_templates;
DROP INDEX templates_by_person;
DROP INDEX templates_by_model;

CREATE TABLE templates (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    person  INTEGER NOT NULL REFERENCES people (id) ON DELETE CASCADE,
    -- name@hash of the network; templates of different models are never compared.
    model   TEXT    NOT NULL CHECK (length(model) BETWEEN 1 AND 200),
    dim     INTEGER NOT NULL CHECK (dim BETWEEN 1 AND 4096),
    -- dim values of 32-bit float, little-endian, of length 1 together, under the person's key: version, nonce, values, tag.
    sealed  BLOB    NOT NULL CHECK (length(sealed) = 4 * dim + 41),
    -- The figures of the picture's quality, an object.
    quality TEXT    NOT NULL CHECK (json_type(quality) = 'object'),
    source  TEXT    NOT NULL CHECK (length(source) > 0),
    created INTEGER NOT NULL
) STRICT;

CREATE INDEX templates_by_person ON templates (person);
CREATE INDEX templates_by_model ON templates (model, person);
