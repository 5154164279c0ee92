-- What became of jobs, by task: a row for each minute (span 1) and hour (60), which begins at start, and one of all time
-- (span 0, start 0), which only grows. name: '' for the queue itself, with the backlog as it was looked at last: how many
-- jobs waiting, and for how long the oldest of them has been due.
-- *_buckets: how many of each bucket of workqueue.figures, as JSON, without the zeros at the end.
CREATE TABLE workqueue.figures (
    start        bigint   NOT NULL,
    completed    bigint   NOT NULL DEFAULT 0,
    failed       bigint   NOT NULL DEFAULT 0,
    retried      bigint   NOT NULL DEFAULT 0,
    cancelled    bigint   NOT NULL DEFAULT 0,
    lost         bigint   NOT NULL DEFAULT 0,
    wait_sum     bigint   NOT NULL DEFAULT 0,
    wait_max     bigint   NOT NULL DEFAULT 0,
    run_sum      bigint   NOT NULL DEFAULT 0,
    run_max      bigint   NOT NULL DEFAULT 0,
    waiting      bigint,
    oldest       bigint,
    noted_at     bigint   NOT NULL,
    span         smallint NOT NULL CHECK (span IN (0, 1, 60)),
    queue        text     NOT NULL,
    name         text     NOT NULL,
    wait_buckets text     NOT NULL DEFAULT '[]',
    run_buckets  text     NOT NULL DEFAULT '[]',
    PRIMARY KEY (span, start, queue, name)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
