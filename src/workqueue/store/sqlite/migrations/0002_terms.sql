-- What some jobs ask for beyond their turn. All of it stands beside the jobs, so that those who ask for nothing pay for
-- one flag: `special`, 1 where a row of `terms` belongs to the job.
-- ready: 2 = due, but kept back (its terms say by what); 3 = waits for other jobs to end.

CREATE TABLE jobs_anew (
    id               INTEGER PRIMARY KEY AUTOINCREMENT,
    queue            TEXT NOT NULL,
    name             TEXT NOT NULL,
    status           INTEGER NOT NULL DEFAULT 0,
    ready            INTEGER,
    special          INTEGER NOT NULL DEFAULT 0,
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
        WHEN 0 THEN ready IS NOT NULL AND (ready IN (0, 1) OR ready IN (2, 3) AND special)
                AND runner IS NULL AND lease_until IS NULL AND settled_at IS NULL AND NOT cancel_requested
        WHEN 2 THEN ready IS NOT NULL AND (ready IN (0, 1) OR ready = 2 AND special) AND retry_count + lost > 0
                AND runner IS NULL AND lease_until IS NULL AND settled_at IS NULL AND NOT cancel_requested
        WHEN 3 THEN settled_at IS NOT NULL
                AND ready IS NULL AND runner IS NULL AND lease_until IS NULL AND NOT cancel_requested
        WHEN 5 THEN settled_at IS NOT NULL
                AND ready IS NULL AND runner IS NULL AND lease_until IS NULL AND NOT cancel_requested
        ELSE FALSE END)
) STRICT;

INSERT INTO jobs_anew (id, queue, name, status, ready, priority, position, run_at, pushed_at, backoff, attempt,
                       retry_count, lost, cancel_requested, runner, lease_until, settled_at, message, data)
SELECT id, queue, name, status, ready, priority, position, run_at, pushed_at, backoff, attempt,
       retry_count, lost, cancel_requested, runner, lease_until, settled_at, message, data
  FROM jobs;

-- The ids that were given out and are gone count too.
INSERT INTO sqlite_sequence (name, seq)
SELECT 'jobs_anew', 0 WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'jobs_anew');
UPDATE sqlite_sequence SET seq = coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'jobs'), 0) WHERE name = 'jobs_anew';

DROP TRIGGER jobs_payload_goes;
DROP TRIGGER jobs_history_goes;
DROP TABLE jobs;
ALTER TABLE jobs_anew RENAME TO jobs;

CREATE INDEX jobs_ready ON jobs (queue, priority DESC, position, id) WHERE ready = 1 AND lost = 0;     -- claim
CREATE INDEX jobs_suspect ON jobs (queue, priority DESC, position, id) WHERE ready = 1 AND lost > 0;   -- claim, alone
CREATE INDEX jobs_later ON jobs (queue, run_at) WHERE ready = 0;                                       -- promote
CREATE INDEX jobs_kept_back ON jobs (queue) WHERE ready = 2;                                           -- size, idle
CREATE INDEX jobs_following ON jobs (queue) WHERE ready = 3;                                           -- size
CREATE INDEX jobs_retrying ON jobs (queue) WHERE status = 2;                                           -- idle, standings
CREATE INDEX jobs_running ON jobs (runner) WHERE status = 4;                                           -- beat, orphans
CREATE INDEX jobs_settled ON jobs (queue, status, id) WHERE settled_at IS NOT NULL;                    -- restore, clean

CREATE TRIGGER jobs_payload_goes AFTER DELETE ON jobs WHEN old.data IS NULL
BEGIN
    DELETE FROM payloads WHERE job = old.id;
END;

CREATE TRIGGER jobs_history_goes AFTER DELETE ON jobs WHEN old.attempt > 1 OR old.status <> 4
BEGIN
    DELETE FROM attempts WHERE job = old.id;
END;

-- spec: the terms themselves, as JSON; the columns beside it are what statements look for.
-- kept_by: 1 its lane for a limit, 2 its order, 3 its lane for a rate, 4 a pause; NULL where it is not kept back.
-- is_open: the job waits or runs. Who counts against a limit is told by the rows that run: a slot cannot leak.
-- later_until: until then the job cannot be due, so that others of its order need not look at it; NULL: look.
CREATE TABLE terms (
    job           INTEGER PRIMARY KEY,
    queue         TEXT NOT NULL,
    name          TEXT NOT NULL,
    spec          TEXT NOT NULL,
    is_open       INTEGER NOT NULL DEFAULT 1,
    runs          INTEGER NOT NULL DEFAULT 0,
    kept_by       INTEGER,
    priority      INTEGER NOT NULL,
    position      INTEGER NOT NULL,
    key           TEXT,
    expires_at    INTEGER,
    limit_lane    TEXT,
    rate_lane     TEXT,
    order_lane    TEXT,
    batch         INTEGER,
    follows       INTEGER,
    follows_batch INTEGER,
    later_until   INTEGER
) STRICT;

CREATE UNIQUE INDEX terms_key ON terms (queue, name, key) WHERE key IS NOT NULL AND is_open;
CREATE INDEX terms_running ON terms (queue, limit_lane) WHERE limit_lane IS NOT NULL AND runs;
CREATE INDEX terms_limited ON terms (queue, limit_lane, priority DESC, position, job) WHERE kept_by = 1;
CREATE INDEX terms_rated ON terms (queue, rate_lane, priority DESC, position, job) WHERE kept_by = 3;
CREATE INDEX terms_ordered ON terms (queue, order_lane, job) WHERE kept_by = 2;
CREATE INDEX terms_ahead ON terms (queue, order_lane, job)
 WHERE order_lane IS NOT NULL AND is_open AND later_until IS NULL;
CREATE INDEX terms_order_running ON terms (queue, order_lane, job) WHERE order_lane IS NOT NULL AND runs;
CREATE INDEX terms_later ON terms (queue, later_until) WHERE later_until IS NOT NULL;
CREATE INDEX terms_paused ON terms (queue, name, job) WHERE kept_by = 4;
CREATE INDEX terms_expiring ON terms (queue, expires_at) WHERE expires_at IS NOT NULL AND is_open;
CREATE INDEX terms_of_batch ON terms (batch) WHERE batch IS NOT NULL AND is_open;
CREATE INDEX terms_following ON terms (follows) WHERE follows IS NOT NULL AND is_open;
CREATE INDEX terms_following_batch ON terms (follows_batch) WHERE follows_batch IS NOT NULL AND is_open;

-- A key that stays taken for a time, whatever becomes of its job.
CREATE TABLE taken_keys (
    queue TEXT NOT NULL,
    name  TEXT NOT NULL,
    key   TEXT NOT NULL,
    job   INTEGER NOT NULL,
    until INTEGER NOT NULL,
    PRIMARY KEY (queue, name, key)
) STRICT;
CREATE INDEX taken_keys_until ON taken_keys (until);

-- The starts that a rate counts, and the lanes of a rate that keep jobs back: when to look at them again.
CREATE TABLE starts (
    queue TEXT NOT NULL,
    lane  TEXT NOT NULL,
    at    INTEGER NOT NULL
) STRICT;
CREATE INDEX starts_of_lane ON starts (queue, lane, at);

CREATE TABLE closed_lanes (
    queue    TEXT NOT NULL,
    lane     TEXT NOT NULL,
    most     INTEGER NOT NULL,
    opens_at INTEGER NOT NULL,
    PRIMARY KEY (queue, lane)
) STRICT;
CREATE INDEX closed_lanes_opening ON closed_lanes (queue, opens_at);

-- name: '' for the whole queue.
CREATE TABLE pauses (
    queue TEXT NOT NULL,
    name  TEXT NOT NULL,
    PRIMARY KEY (queue, name)
) STRICT;

CREATE TABLE batches (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    queue     TEXT NOT NULL,
    sealed    INTEGER NOT NULL DEFAULT 0,
    total     INTEGER NOT NULL DEFAULT 0,
    completed INTEGER NOT NULL DEFAULT 0,
    failed    INTEGER NOT NULL DEFAULT 0,
    cancelled INTEGER NOT NULL DEFAULT 0,
    done_at   INTEGER
) STRICT;
CREATE INDEX batches_done ON batches (done_at) WHERE done_at IS NOT NULL;

CREATE TABLE results (
    job    INTEGER PRIMARY KEY,
    result BLOB NOT NULL,
    until  INTEGER NOT NULL
) STRICT;
CREATE INDEX results_until ON results (until);

CREATE TABLE progress (
    job  INTEGER PRIMARY KEY,
    data BLOB NOT NULL
) STRICT;
