-- People, their templates, the journal, and the counter that tells a daemon when its gallery is out of date.
-- Forward only: once released this file is never edited; a change is a new file with the next number.
-- Times are microseconds since 1970-01-01 UTC. Numbers of rows are never used again (AUTOINCREMENT).

CREATE TABLE people (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    name     TEXT    NOT NULL CHECK (length(name) BETWEEN 1 AND 64),
    -- The name as it is compared: lower case, single spaces. No two people differ in case alone.
    name_key TEXT    NOT NULL UNIQUE CHECK (length(name_key) > 0),
    created  INTEGER NOT NULL
) STRICT;

CREATE TABLE templates (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    person    INTEGER NOT NULL REFERENCES people (id) ON DELETE CASCADE,
    -- name@hash of the network; templates of different models are never compared.
    model     TEXT    NOT NULL CHECK (length(model) BETWEEN 1 AND 200),
    dim       INTEGER NOT NULL CHECK (dim BETWEEN 1 AND 4096),
    -- dim values of 32-bit float, little-endian, of length 1 together.
    embedding BLOB    NOT NULL CHECK (length(embedding) = 4 * dim),
    -- The figures of the picture's quality, an object.
    quality   TEXT    NOT NULL CHECK (json_type(quality) = 'object'),
    source    TEXT    NOT NULL CHECK (length(source) > 0),
    created   INTEGER NOT NULL
) STRICT;

CREATE INDEX templates_by_person ON templates (person);
CREATE INDEX templates_by_model ON templates (model, person);

CREATE TABLE events (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    wall        INTEGER NOT NULL,
    -- Milliseconds since the boot that boot_id names: orders events when the calendar was set in between.
    mono_ms     INTEGER NOT NULL CHECK (mono_ms >= 0),
    boot_id     TEXT    NOT NULL CHECK (length(boot_id) > 0),
    kind        TEXT    NOT NULL CHECK (length(kind) > 0),
    -- No foreign key: the journal outlives the people it tells of, and keeps the name they had.
    person      INTEGER,
    person_name TEXT,
    actor       TEXT,
    detail      TEXT    NOT NULL CHECK (json_valid(detail)),
    CHECK ((person IS NULL) = (person_name IS NULL))
) STRICT;

CREATE INDEX events_by_wall ON events (wall);
CREATE INDEX events_by_kind ON events (kind);
CREATE INDEX events_by_person ON events (person, kind) WHERE person IS NOT NULL;
CREATE INDEX events_by_person_name ON events (person_name COLLATE NOCASE) WHERE person_name IS NOT NULL;

CREATE TRIGGER events_are_never_changed BEFORE UPDATE ON events
BEGIN
    SELECT RAISE(ABORT, 'a record of the journal is never changed');
END;

-- One row: how often people or templates have changed. A gallery built at a lower generation is out of date.
CREATE TABLE gallery_state (
    only_row   INTEGER PRIMARY KEY CHECK (only_row = 1),
    generation INTEGER NOT NULL CHECK (generation >= 0)
) STRICT;

INSERT INTO gallery_state (only_row, generation) VALUES (1, 0);
