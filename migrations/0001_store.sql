-- The store's file. Every state of an object is one row, written once and keyed by its revision: a write
-- appends, it never rewrites the row it replaces. `history` holds one short row per change inside the window
-- that watches may resume in; a state named there as `previous` is no longer current. Compaction deletes
-- both; what is left in `state` then is exactly the current state.

CREATE TABLE state (
    revision INTEGER PRIMARY KEY,
    bucket   TEXT NOT NULL,
    name     TEXT NOT NULL,
    sealed   INTEGER NOT NULL,      -- 1: value is sealed, see the Seal trait
    value    BLOB NOT NULL
) STRICT;

CREATE TABLE history (
    revision INTEGER PRIMARY KEY,
    at       INTEGER NOT NULL,      -- milliseconds since 1970
    kind     INTEGER NOT NULL,      -- 0 created, 1 updated, 2 deleted
    previous INTEGER                -- revision of the state that this change replaced
) STRICT;

CREATE TABLE meta (
    id        INTEGER PRIMARY KEY CHECK (id = 1),
    uid       TEXT NOT NULL,
    written   INTEGER NOT NULL,     -- last revision in this file
    reserved  INTEGER NOT NULL,     -- no revision above this one has ever been published
    compacted INTEGER NOT NULL      -- history at and below this revision may be gone
) STRICT;

INSERT INTO meta (id, uid, written, reserved, compacted)
VALUES (1, lower(hex(randomblob(16))), 0, 0, 0);
