-- Completed jobs that are kept. They stand beside the others, so that a queue that keeps none pays nothing for it.
-- runner: the label of who completed it. spec: its terms. data: NULL when it stands in payloads.
CREATE TABLE completed (
    id          INTEGER PRIMARY KEY,
    queue       TEXT NOT NULL,
    name        TEXT NOT NULL,
    priority    INTEGER NOT NULL,
    run_at      INTEGER NOT NULL,
    pushed_at   INTEGER NOT NULL,
    claimed_at  INTEGER NOT NULL,
    settled_at  INTEGER NOT NULL,
    backoff     INTEGER NOT NULL,
    attempt     INTEGER NOT NULL,
    retry_count INTEGER NOT NULL,
    lost        INTEGER NOT NULL,
    runner      TEXT NOT NULL,
    spec        TEXT,
    data        BLOB
) STRICT;
CREATE INDEX completed_of_queue ON completed (queue, id);             -- find
CREATE INDEX completed_settled ON completed (queue, settled_at, id);  -- prune

-- What large data and history a job has goes with it, wherever it stands last.
DROP TRIGGER jobs_payload_goes;
DROP TRIGGER jobs_history_goes;

CREATE TRIGGER jobs_payload_goes AFTER DELETE ON jobs WHEN old.data IS NULL
BEGIN
    DELETE FROM payloads WHERE job = old.id AND NOT EXISTS (SELECT 1 FROM completed WHERE id = old.id);
END;

CREATE TRIGGER jobs_history_goes AFTER DELETE ON jobs WHEN old.attempt > 1 OR old.status <> 4
BEGIN
    DELETE FROM attempts WHERE job = old.id AND NOT EXISTS (SELECT 1 FROM completed WHERE id = old.id);
END;

CREATE TRIGGER completed_payload_goes AFTER DELETE ON completed WHEN old.data IS NULL
BEGIN
    DELETE FROM payloads WHERE job = old.id;
END;

CREATE TRIGGER completed_history_goes AFTER DELETE ON completed WHEN old.attempt > 1
BEGIN
    DELETE FROM attempts WHERE job = old.id;
END;

-- queue: where the newest of a queue are counted; NULL where the time alone decides.
ALTER TABLE results ADD COLUMN queue TEXT;
CREATE INDEX results_counted ON results (queue, until, job) WHERE queue IS NOT NULL;
