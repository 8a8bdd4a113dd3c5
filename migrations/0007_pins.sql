-- PINs, as argon2id hashes alone, and what people must show.

-- A person's PIN and the one to be typed under duress: hashed with one salt, of the same number of digits. They go with the
-- person.
CREATE TABLE pins (
    person     INTEGER PRIMARY KEY REFERENCES people (id) ON DELETE CASCADE,
    salt       BLOB    NOT NULL CHECK (length(salt) = 16),
    memory_kib INTEGER NOT NULL CHECK (memory_kib >= 8),
    passes     INTEGER NOT NULL CHECK (passes >= 1),
    hash       BLOB    NOT NULL CHECK (length(hash) = 32),
    duress     BLOB    CHECK (length(duress) = 32),
    digits     INTEGER NOT NULL CHECK (digits BETWEEN 4 AND 12),
    -- Wrong PINs typed for them since the last right one.
    failures   INTEGER NOT NULL DEFAULT 0 CHECK (failures >= 0)
) STRICT;

-- face, face-and-pin or face-or-pin; NULL is what the rule asks for.
ALTER TABLE terms ADD COLUMN must_show TEXT;
