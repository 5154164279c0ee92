-- What became of jobs, by task: a row for each minute (span 1) and hour (60), which begins at start, and one of all time
-- (span 0, start 0), which only grows. name: '' for the queue itself, with the backlog as it was looked at last: how many
-- jobs waiting, and for how long the oldest of them has been due.
-- *_buckets: how many of each bucket of workqueue.figures, as JSON, without the zeros at the end.
CREATE TABLE figures (
    span         INTEGER NOT NULL CHECK (span IN (0, 1, 60)),
    start        INTEGER NOT NULL,
    queue        TEXT NOT NULL,
    name         TEXT NOT NULL,
    completed    INTEGER NOT NULL DEFAULT 0,
    failed       INTEGER NOT NULL DEFAULT 0,
    retried      INTEGER NOT NULL DEFAULT 0,
    cancelled    INTEGER NOT NULL DEFAULT 0,
    lost         INTEGER NOT NULL DEFAULT 0,
    wait_sum     INTEGER NOT NULL DEFAULT 0,
    wait_max     INTEGER NOT NULL DEFAULT 0,
    run_sum      INTEGER NOT NULL DEFAULT 0,
    run_max      INTEGER NOT NULL DEFAULT 0,
    wait_buckets TEXT NOT NULL DEFAULT '[]',
    run_buckets  TEXT NOT NULL DEFAULT '[]',
    waiting      INTEGER,
    oldest       INTEGER,
    noted_at     INTEGER NOT NULL,
    PRIMARY KEY (span, start, queue, name)
) STRICT, WITHOUT ROWID;
