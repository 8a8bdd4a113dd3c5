-- Attempts at the doors of which the embeddings are kept for some days, where the operator wants that: to be put through the
-- decision again before a setting is changed.

-- A key for each day: with it go all attempts of that day, wherever copies of them are.
CREATE TABLE attempt_days (
    -- Days since 1970-01-01, UTC.
    day     INTEGER PRIMARY KEY,
    -- The key under the device's key: version, nonce, 32 bytes, tag.
    wrapped BLOB NOT NULL CHECK (length(wrapped) = 73)
) STRICT;

CREATE TABLE attempts (
    id     INTEGER PRIMARY KEY AUTOINCREMENT,
    day    INTEGER NOT NULL REFERENCES attempt_days (day) ON DELETE CASCADE,
    model  TEXT    NOT NULL CHECK (length(model) BETWEEN 1 AND 200),
    -- Whom it was recognised as, or who came near: it goes with them. NULL is nobody.
    person INTEGER REFERENCES people (id) ON DELETE CASCADE,
    -- What was seen and decided, under the key of its day, and below that under the person's where there is one.
    sealed BLOB    NOT NULL
) STRICT;

CREATE INDEX attempts_by_day ON attempts (day);
CREATE INDEX attempts_by_person ON attempts (person) WHERE person IS NOT NULL;
