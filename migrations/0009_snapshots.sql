-- Small pictures of faces that were refused, kept for some days where the operator wants that, and sealed as attempts are: with the
-- key of their day.

ALTER TABLE attempt_days RENAME TO kept_days;

CREATE TABLE snapshots (
    -- The refusal's record; not bound to it: pictures go long before records do.
    event  INTEGER PRIMARY KEY,
    day    INTEGER NOT NULL REFERENCES kept_days (day) ON DELETE CASCADE,
    person INTEGER REFERENCES people (id) ON DELETE CASCADE,
    sealed BLOB    NOT NULL
) STRICT;

CREATE INDEX snapshots_by_day ON snapshots (day);
CREATE INDEX snapshots_by_person ON snapshots (person) WHERE person IS NOT NULL;
