-- Completed jobs that are kept. They stand beside the others, so that a queue that keeps none pays nothing for it.
-- runner: the label of who completed it. spec: its terms.
CREATE TABLE workqueue.completed (
    id          bigint NOT NULL PRIMARY KEY,
    priority    bigint NOT NULL,
    run_at      bigint NOT NULL,
    pushed_at   bigint NOT NULL,
    claimed_at  bigint NOT NULL,
    settled_at  bigint NOT NULL,
    backoff     bigint NOT NULL,
    attempt     int    NOT NULL,
    retry_count int    NOT NULL,
    lost        int    NOT NULL,
    queue       text   NOT NULL,
    name        text   NOT NULL,
    runner      text   NOT NULL,
    spec        text,
    data        bytea  NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);
-- All rows are in both. Their conditions say what they are made for: else a plan that was made for an empty table, and is
-- kept, may look for an id in one of them, from end to end.
CREATE INDEX completed_of_queue ON workqueue.completed (queue, id) WHERE attempt > 0;                -- find
CREATE INDEX completed_settled ON workqueue.completed (queue, settled_at, id) WHERE settled_at > 0;  -- prune

-- Programs of the version before go on: they complete jobs and keep none. The history of a job goes with it, wherever it
-- stands last.
CREATE OR REPLACE FUNCTION workqueue.forget_history() RETURNS trigger LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
    DELETE FROM workqueue.attempts
     WHERE job = old.id AND NOT EXISTS (SELECT 1 FROM workqueue.completed WHERE id = old.id);
    RETURN NULL;
END $$;
CREATE TRIGGER completed_history_goes AFTER DELETE ON workqueue.completed
    FOR EACH ROW WHEN (old.attempt > 1) EXECUTE FUNCTION workqueue.forget_history();

-- queue: where the newest of a queue are counted; NULL where the time alone decides.
ALTER TABLE workqueue.results ADD COLUMN queue text;
CREATE INDEX results_counted ON workqueue.results (queue, until, job) WHERE queue IS NOT NULL;
