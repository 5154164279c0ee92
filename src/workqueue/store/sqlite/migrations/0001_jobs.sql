-- Instants are microseconds since 1970, durations microseconds. Statuses: 0 pending, 2 retrying, 3 failed, 4 running,
-- 5 cancelled; a completed job (1) leaves the file.

CREATE TABLE meta (
    store_id TEXT NOT NULL,
    made_by  TEXT NOT NULL,
    made_at  INTEGER NOT NULL
) STRICT;

-- A retry rule is stored once, however many jobs carry it.
CREATE TABLE backoffs (
    id   INTEGER PRIMARY KEY,
    rule TEXT NOT NULL UNIQUE
) STRICT;

-- Who claims, or did lately. The id is the byte of the owners file that the runner's process holds, so it is never used
-- twice. No statement joins jobs to this table to find out who is dead.
CREATE TABLE runners (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    queue      TEXT NOT NULL,
    label      TEXT NOT NULL,
    started_at INTEGER NOT NULL
) STRICT;

-- ready: 1 = may be claimed, 0 = waits for its run_at, NULL = does not wait. A claim must never step over jobs that are
-- not due, however many and however urgent; so they stand in an index of their own and are promoted when due.
-- position: the place among jobs of equal priority: 0 in a queue by turn (the id decides), run_at in one by time.
-- data: NULL when it stands in payloads, so that claiming does not write large data again.
CREATE TABLE jobs (
    id               INTEGER PRIMARY KEY AUTOINCREMENT,
    queue            TEXT NOT NULL,
    name             TEXT NOT NULL,
    status           INTEGER NOT NULL DEFAULT 0 CHECK (status IN (0, 2, 3, 4, 5)),
    ready            INTEGER CHECK (ready IN (0, 1)),
    priority         INTEGER NOT NULL,
    position         INTEGER NOT NULL,
    run_at           INTEGER NOT NULL,
    pushed_at        INTEGER NOT NULL,
    backoff          INTEGER NOT NULL,
    attempt          INTEGER NOT NULL DEFAULT 0 CHECK (attempt >= 0),
    retry_count      INTEGER NOT NULL DEFAULT 0 CHECK (retry_count >= 0),
    lost             INTEGER NOT NULL DEFAULT 0 CHECK (lost >= 0),
    cancel_requested INTEGER NOT NULL DEFAULT 0 CHECK (cancel_requested IN (0, 1)),
    runner           INTEGER,
    lease_until      INTEGER,
    settled_at       INTEGER,
    message          TEXT NOT NULL DEFAULT '',
    data             BLOB,
    CHECK ((status IN (0, 2)) = (ready IS NOT NULL)),
    CHECK ((status = 4) = (runner IS NOT NULL)),
    CHECK ((status = 4) = (lease_until IS NOT NULL)),
    CHECK ((status IN (3, 5)) = (settled_at IS NOT NULL)),
    CHECK (status <> 4 OR attempt > 0),
    CHECK (cancel_requested = 0 OR status = 4),
    CHECK (status <> 2 OR retry_count + lost > 0)
) STRICT;

CREATE INDEX jobs_ready ON jobs (queue, priority DESC, position, id) WHERE ready = 1 AND lost = 0;     -- claim
CREATE INDEX jobs_suspect ON jobs (queue, priority DESC, position, id) WHERE ready = 1 AND lost > 0;   -- claim, alone
CREATE INDEX jobs_later ON jobs (queue, run_at) WHERE ready = 0;                                       -- promote
CREATE INDEX jobs_running ON jobs (runner) WHERE status = 4;                                           -- beat, orphans
CREATE INDEX jobs_settled ON jobs (queue, status, id) WHERE settled_at IS NOT NULL;                    -- restore, clean

CREATE TABLE payloads (
    job  INTEGER PRIMARY KEY,
    data BLOB NOT NULL
) STRICT;

CREATE TABLE attempts (
    job        INTEGER NOT NULL,
    attempt    INTEGER NOT NULL,
    runner     TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    duration   INTEGER NOT NULL,
    outcome    TEXT NOT NULL CHECK (outcome IN ('raised', 'lost', 'cancelled')),
    error      TEXT NOT NULL,
    traceback  TEXT NOT NULL,
    PRIMARY KEY (job, attempt)
) STRICT;

CREATE TRIGGER jobs_payload_goes AFTER DELETE ON jobs WHEN old.data IS NULL
BEGIN
    DELETE FROM payloads WHERE job = old.id;
END;

CREATE TRIGGER jobs_history_goes AFTER DELETE ON jobs WHEN old.attempt > 1 OR old.status <> 4
BEGIN
    DELETE FROM attempts WHERE job = old.id;
END;
