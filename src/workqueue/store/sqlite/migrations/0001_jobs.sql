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
    status           INTEGER NOT NULL DEFAULT 0,
    ready            INTEGER,
    priority         INTEGER NOT NULL,
    position         INTEGER NOT NULL,
    run_at           INTEGER NOT NULL,
    pushed_at        INTEGER NOT NULL,
    backoff          INTEGER NOT NULL,
    attempt          INTEGER NOT NULL DEFAULT 0,
    retry_count      INTEGER NOT NULL DEFAULT 0,
    lost             INTEGER NOT NULL DEFAULT 0,
    cancel_requested INTEGER NOT NULL DEFAULT 0,
    runner           INTEGER,
    lease_until      INTEGER,
    settled_at       INTEGER,
    message          TEXT NOT NULL DEFAULT '',
    data             BLOB,
    -- One constraint, so that one status is looked at: one for each rule costs a push and a claim twice as much.
    CHECK (CASE status
        WHEN 4 THEN runner IS NOT NULL AND lease_until IS NOT NULL AND attempt > 0
                AND ready IS NULL AND settled_at IS NULL
        WHEN 0 THEN ready IS NOT NULL AND ready IN (0, 1)
                AND runner IS NULL AND lease_until IS NULL AND settled_at IS NULL AND NOT cancel_requested
        WHEN 2 THEN ready IS NOT NULL AND ready IN (0, 1) AND retry_count + lost > 0
                AND runner IS NULL AND lease_until IS NULL AND settled_at IS NULL AND NOT cancel_requested
        WHEN 3 THEN settled_at IS NOT NULL
                AND ready IS NULL AND runner IS NULL AND lease_until IS NULL AND NOT cancel_requested
        WHEN 5 THEN settled_at IS NOT NULL
                AND ready IS NULL AND runner IS NULL AND lease_until IS NULL AND NOT cancel_requested
        ELSE FALSE END)
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
