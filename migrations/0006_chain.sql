-- The journal becomes a chain: each record bears a hash over itself and the hash before it; checkpoints are signed.
-- Records from before get theirs when this program opens the database, and a record that says so.

DROP TRIGGER events_are_never_changed;

-- Whether the calendar was believed; NULL in records from before this was kept.
ALTER TABLE events ADD COLUMN clock_trusted INTEGER CHECK (clock_trusted IN (0, 1));
-- NULL only while an upgrade is under way.
ALTER TABLE events ADD COLUMN hash BLOB CHECK (length(hash) = 32);

CREATE TRIGGER events_are_never_changed BEFORE UPDATE ON events WHEN OLD.hash IS NOT NULL
BEGIN
    SELECT RAISE(ABORT, 'a record of the journal is never changed');
END;

-- One row: what the chain begins with. By chance, so that no two journals share records.
CREATE TABLE journal_state (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    genesis  BLOB    NOT NULL CHECK (length(genesis) = 32)
) STRICT;

INSERT INTO journal_state (only_row, genesis) VALUES (1, randomblob(32));

-- Signatures over the newest record of some moment, and so over all before it.
CREATE TABLE checkpoints (
    -- The record's number.
    id        INTEGER PRIMARY KEY,
    hash      BLOB    NOT NULL CHECK (length(hash) = 32),
    -- The first record since the checkpoint before, and the bounds of the calendar from there on.
    first     INTEGER NOT NULL CHECK (first <= id),
    earliest  INTEGER NOT NULL,
    latest    INTEGER NOT NULL,
    signed_at INTEGER NOT NULL,
    -- ed25519
    key       BLOB    NOT NULL CHECK (length(key) = 32),
    signature BLOB    NOT NULL CHECK (length(signature) = 64)
) STRICT;

-- At most one row: all that is left of records that were pruned, those from 1 to `last`.
CREATE TABLE pruned (
    only_row  INTEGER PRIMARY KEY CHECK (only_row = 1),
    last      INTEGER NOT NULL CHECK (last >= 1),
    hash      BLOB    NOT NULL CHECK (length(hash) = 32),
    earliest  INTEGER NOT NULL,
    latest    INTEGER NOT NULL,
    -- How many of each kind, an object.
    kinds     TEXT    NOT NULL CHECK (json_type(kinds) = 'object'),
    key       BLOB    NOT NULL CHECK (length(key) = 32),
    signature BLOB    NOT NULL CHECK (length(signature) = 64)
) STRICT;

CREATE TRIGGER events_are_only_pruned BEFORE DELETE ON events
    WHEN OLD.id > (SELECT coalesce(max(last), 0) FROM pruned)
BEGIN
    SELECT RAISE(ABORT, 'a record of the journal is never deleted without a signed summary');
END;

-- With the kind, so that the newest records of a person are found in their order.
DROP INDEX events_by_person_name;
CREATE INDEX events_by_name ON events (person_name COLLATE NOCASE, kind) WHERE person_name IS NOT NULL;
