-- Where the jobs of this file go: done_at is NULL while `workqueue copy` is at it. The triggers that refuse new work
-- meanwhile, and afterwards, stand among the statements.
CREATE TABLE moves (
    move     TEXT PRIMARY KEY,
    target   TEXT NOT NULL,
    begun_at INTEGER NOT NULL,
    done_at  INTEGER
) STRICT;

-- What is copied into this file, and how far: step is the table, after the key of the last row of it, as
-- JSON. move: which move of the source it is; '' for a snapshot of one that goes on.
CREATE TABLE copies (
    source_id  TEXT PRIMARY KEY,
    source     TEXT NOT NULL,
    move       TEXT NOT NULL,
    step       TEXT NOT NULL,
    after      TEXT NOT NULL,
    last_job   INTEGER NOT NULL,
    last_batch INTEGER NOT NULL,
    begun_at   INTEGER NOT NULL,
    done_at    INTEGER
) STRICT;
