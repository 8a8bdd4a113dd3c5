-- Who may enter when. New databases and those from before begin with one rule: whoever is enrolled may enter always.

-- A rule as JSON, as `accessd policy export` writes it as TOML. Numbers are never used again.
CREATE TABLE rules (
    id   INTEGER PRIMARY KEY AUTOINCREMENT,
    rule TEXT    NOT NULL CHECK (json_type(rule) = 'object')
) STRICT;

INSERT INTO rules (rule) VALUES ('{"effect":"allow","who":"everybody","holidays":"too"}');

CREATE TABLE holidays (
    id     INTEGER PRIMARY KEY AUTOINCREMENT,
    -- 2026-12-24 or 2026-12-24..2027-01-01
    dates  TEXT    NOT NULL CHECK (length(dates) > 0),
    name   TEXT    NOT NULL,
    yearly INTEGER NOT NULL CHECK (yearly IN (0, 1))
) STRICT;

-- What is agreed with one person; it goes with them.
CREATE TABLE terms (
    person       INTEGER PRIMARY KEY REFERENCES people (id) ON DELETE CASCADE,
    valid_from   INTEGER,
    valid_until  INTEGER,
    -- Entries that are left; NULL is without number.
    entries_left INTEGER CHECK (entries_left >= 0)
) STRICT;

CREATE TABLE memberships (
    person INTEGER NOT NULL REFERENCES people (id) ON DELETE CASCADE,
    -- In lower case.
    member_of TEXT NOT NULL CHECK (length(member_of) BETWEEN 1 AND 128),
    PRIMARY KEY (person, member_of)
) STRICT, WITHOUT ROWID;

-- One row: what holds for the door as a whole.
CREATE TABLE policy_state (
    only_row   INTEGER PRIMARY KEY CHECK (only_row = 1),
    -- IANA name; NULL is the machine's zone.
    zone       TEXT,
    passback_s INTEGER NOT NULL CHECK (passback_s >= 0),
    lockdown   INTEGER NOT NULL CHECK (lockdown IN (0, 1))
) STRICT;

INSERT INTO policy_state (only_row, zone, passback_s, lockdown) VALUES (1, NULL, 0, 0);
