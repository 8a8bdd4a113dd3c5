-- Several doors: which one an event is of, who is where, and anti-passback by direction. Records from before have no door.

ALTER TABLE events ADD COLUMN door TEXT;

CREATE INDEX events_by_door ON events (door COLLATE NOCASE) WHERE door IS NOT NULL;

-- Where somebody was last seen to go. Kept for areas that doors lead into and out of, while anti-passback is on.
CREATE TABLE passages (
    person INTEGER NOT NULL REFERENCES people (id) ON DELETE CASCADE,
    -- In lower case.
    area   TEXT    NOT NULL CHECK (length(area) > 0),
    inside INTEGER NOT NULL CHECK (inside IN (0, 1)),
    wall   INTEGER NOT NULL,
    PRIMARY KEY (person, area)
) STRICT, WITHOUT ROWID;

-- When anti-passback last forgave somebody.
CREATE TABLE forgiven (
    person INTEGER PRIMARY KEY REFERENCES people (id) ON DELETE CASCADE,
    wall   INTEGER NOT NULL
) STRICT;

ALTER TABLE policy_state ADD COLUMN direction TEXT NOT NULL DEFAULT 'off' CHECK (direction IN ('off', 'in', 'both'));
