-- What people agreed to, and what a new device needs to open the backups of this one.

CREATE TABLE consents (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    person      INTEGER NOT NULL REFERENCES people (id) ON DELETE CASCADE,
    -- What they agreed to, word for word.
    text        TEXT    NOT NULL CHECK (length(text) BETWEEN 1 AND 20000),
    -- When they did; when and by whom it was written down.
    given       INTEGER NOT NULL,
    recorded    INTEGER NOT NULL,
    recorded_by TEXT    NOT NULL
) STRICT;

CREATE INDEX consents_by_person ON consents (person);

-- One row once there is a recovery code: the key of the key file, wrapped by the code for a new device, and by the
-- device's key for this one.
CREATE TABLE recovery (
    only_row  INTEGER PRIMARY KEY CHECK (only_row = 1),
    by_code   BLOB NOT NULL CHECK (length(by_code) = 73),
    by_device BLOB NOT NULL CHECK (length(by_device) = 73)
) STRICT;

-- When the door last opened for them: outlives the journal's own memory.
ALTER TABLE people ADD COLUMN last_used INTEGER;
UPDATE people SET last_used = (SELECT max(wall) FROM events WHERE person = people.id AND kind = 'grant');
