-- Periodic jobs. Whoever runs a slot must find it standing as next_at, and moves that on in the same transaction as it
-- pushes the job: so of all processes one runs it.
-- spec: the schedule as JSON. last_at, last_job: the slot that was run last, and its job, which may have left the file.
CREATE TABLE schedules (
    queue    TEXT NOT NULL,
    name     TEXT NOT NULL,
    spec     TEXT NOT NULL,
    next_at  INTEGER NOT NULL,
    last_at  INTEGER,
    last_job INTEGER,
    paused   INTEGER NOT NULL DEFAULT 0 CHECK (paused IN (0, 1)),
    CHECK ((last_at IS NULL) = (last_job IS NULL)),
    PRIMARY KEY (queue, name)
) STRICT;
CREATE INDEX schedules_due ON schedules (queue, next_at, name) WHERE paused = 0;
