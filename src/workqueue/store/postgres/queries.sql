-- Every statement of the PostgreSQL engine; `workqueue.` stands for the schema that the queue was opened with. Those that
-- `relational` names have the names, parameters and answers of the SQLite engine's: arrays go in as JSON text, lists
-- come out as one. The hot ones take arrays. Statuses: 0 pending, 2 retrying, 3 failed, 4 running, 5 cancelled.

-- name: now
-- The server's time: all clients of a store agree on it, whatever their own clocks say.
SELECT coalesce(:now::bigint, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint);

-- name: begin
-- Whatever the database's default is: who waited for the gate, or for the lock of a migration, is to see what those before
-- it did.
BEGIN ISOLATION LEVEL READ COMMITTED;

-- name: commit
COMMIT;

-- name: impatient
-- For transactions of ours, which never idle: a client that vanished in one, behind a line that does not say so, would
-- keep what it had locked until the server's keepalive tells. And who waits for a lock does nothing else meanwhile.
SELECT set_config('idle_in_transaction_session_timeout', :idle::text, true),
       set_config('lock_timeout', :locked::text, true);

-- name: is_at_it
-- Whether the server still works on what the client of that session asked for; with track_activities off, whether it may.
SELECT EXISTS (SELECT 1 FROM pg_stat_activity WHERE pid = :pid
                AND state IN ('active', 'fastpath function call', 'disabled'));

-- name: gate
-- One at a time for what judges, starts or ends jobs with terms: else one could keep a job back while another, who ended
-- the last job before it, finds nobody to let go. Ends with the transaction, so it holds behind a pooler too.
SELECT pg_advisory_xact_lock(:space::int, 0);

-- name: gate_is_open
-- Shuts it for no longer than the statement takes.
SELECT pg_try_advisory_xact_lock(:space::int, 0);

-- name: plan_by_index
-- A plan is kept for long, and may be made when the tables are empty: a server that then reads a table from end to end
-- does so still when a million wait. So that is not offered; and no statement joins jobs by their ids to a list, which
-- leads to the same end: `id = ANY (...)` is an index search whatever the server thinks. OFFSET 0 and
-- IS TRUE keep a subquery from being made a join. Where `status = 4` would offer the index of all that run, `lease_until IS NOT NULL` says the same.
-- Gives the settings as they were. With them go the longest wait for what another transaction has locked, for who waits
-- does nothing else meanwhile; and those by which the server notices within a minute that a client has vanished, and not
-- after the two hours of most systems: until then, what its transaction locked is locked.
WITH before AS MATERIALIZED (
    SELECT current_setting('enable_seqscan') AS seqscan, current_setting('jit') AS jit,
           current_setting('lock_timeout') AS locked
)
SELECT seqscan, jit, locked, set_config('enable_seqscan', 'off', false), set_config('jit', 'off', false),
       set_config('lock_timeout', :locked::text, false),
       set_config('tcp_keepalives_idle', '30', false), set_config('tcp_keepalives_interval', '10', false),
       set_config('tcp_keepalives_count', '3', false), set_config('tcp_user_timeout', '20000', false)
  FROM before;

-- name: read_strings_plainly
-- The driver writes data into arrays as the server says that it reads strings: else with backslashes doubled, which an
-- array keeps.
SET standard_conforming_strings = on;

-- name: plan_as_before
-- For the statements of others, until the transaction ends.
SELECT set_config('enable_seqscan', :seqscan, true), set_config('jit', :jit, true),
       set_config('lock_timeout', :locked, true);

-- name: begun
-- After `gate`, in a statement of its own: the time is that of having got it.
SELECT coalesce(:now::bigint, (extract(epoch FROM statement_timestamp()) * 1000000)::bigint);

-- name: mark
-- Right before COMMIT: by it the transaction is found. Its id would not do: a server that crashed gives it out again.
INSERT INTO workqueue.pushes (token, at, ids)
VALUES (:token, coalesce(:now::bigint, (extract(epoch FROM statement_timestamp()) * 1000000)::bigint), '{}');

-- name: prevent
-- Take the token of a transaction whose answer was lost: waits for its end if it is at its end; keeps it from lasting if
-- it is not there yet. It writes in either case: so the answer waits for a synchronous standby, which then has the
-- transaction too. Who ends a session that waits for one lets the others see a commit that a failover would undo.
INSERT INTO workqueue.pushes AS p (token, at, ids)
VALUES (:token, coalesce(:now::bigint, (extract(epoch FROM statement_timestamp()) * 1000000)::bigint), '{0}')
ON CONFLICT (token) DO UPDATE SET at = p.at;

-- name: fate
SELECT ids <> '{0}' FROM workqueue.pushes WHERE token = :token;

-- name: push
-- One statement, so that one trip is a whole transaction. The ids rise in the order of :data. `pushes` lets whoever lost
-- the answer find it; a second try meets the first one's token and stores nothing. :headers is as long as :data, or
-- empty.
WITH clock AS MATERIALIZED (
    SELECT coalesce(:now::bigint, (extract(epoch FROM statement_timestamp()) * 1000000)::bigint) AS now
), place AS MATERIALIZED (
    SELECT now, least(coalesce(:run_at::bigint, now + :delay::bigint), :end::bigint) AS run_at FROM clock
), new AS (
    INSERT INTO workqueue.jobs (queue, name, priority, position, run_at, pushed_at, ready, backoff, data, headers)
    SELECT :queue, :name, :priority, CASE WHEN :timing THEN p.run_at ELSE 0 END, p.run_at, p.now,
           (p.run_at <= p.now)::int, :backoff, d.data, d.headers
      FROM place AS p, unnest(:data::bytea[], :headers::text[]) WITH ORDINALITY AS d (data, headers, nth)
     ORDER BY d.nth
    RETURNING id
), marked AS (
    INSERT INTO workqueue.pushes (token, at, ids)
    SELECT :token, (SELECT now FROM clock), array_agg(id ORDER BY id) FROM new
    RETURNING ids
)
SELECT ids FROM marked;

-- name: pushed
-- It writes, as `prevent` does, and for the same reason.
UPDATE workqueue.pushes SET at = at WHERE token = :token RETURNING ids;

-- name: forget_pushes
DELETE FROM workqueue.pushes WHERE at < :before;

-- name: insert
-- The same inside a transaction.
INSERT INTO workqueue.jobs (queue, name, priority, position, run_at, pushed_at, ready, special, backoff, data, headers)
SELECT :queue, :name, :priority, :position, :run_at, :now, :ready, :special::int = 1, :backoff, d.data, d.headers
  FROM unnest(:data::bytea[], :headers::text[]) WITH ORDINALITY AS d (data, headers, nth)
 ORDER BY d.nth
RETURNING id;

-- name: push_within
-- As `push`, in a transaction of the application's: its commit is not ours to look after, and nothing marks it.
WITH clock AS MATERIALIZED (
    SELECT coalesce(:now::bigint, (extract(epoch FROM statement_timestamp()) * 1000000)::bigint) AS now
), place AS MATERIALIZED (
    SELECT now, least(coalesce(:run_at::bigint, now + :delay::bigint), :end::bigint) AS run_at FROM clock
)
INSERT INTO workqueue.jobs (queue, name, priority, position, run_at, pushed_at, ready, backoff, data, headers)
SELECT :queue, :name, :priority, CASE WHEN :timing THEN p.run_at ELSE 0 END, p.run_at, p.now,
       (p.run_at <= p.now)::int, :backoff, d.data, d.headers
  FROM place AS p, unnest(:data::bytea[], :headers::text[]) WITH ORDINALITY AS d (data, headers, nth)
 ORDER BY d.nth
RETURNING id;

-- name: place
-- What tells this store, in this database of this server, from every other; and what may use its tables.
SELECT m.store_id, d.oid::bigint, (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint, m.version, m.oldest
  FROM workqueue.meta AS m, pg_catalog.pg_database AS d WHERE d.datname = current_database();

-- name: add_backoff
INSERT INTO workqueue.backoffs (rule) VALUES (:rule) ON CONFLICT DO NOTHING;

-- name: backoff_id
SELECT id FROM workqueue.backoffs WHERE rule = :rule;

-- name: backoff_rules
SELECT coalesce(json_agg(json_build_array(id, rule::json)), '[]')::text FROM workqueue.backoffs;

-- name: promote
UPDATE workqueue.jobs SET ready = 1 WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM workqueue.jobs WHERE queue = :queue AND ready = 0 AND run_at <= :now
     ORDER BY run_at LIMIT :limit FOR NO KEY UPDATE SKIP LOCKED));

-- name: turn
-- Settle what is complete and claim what is wanted: one trip. The first row says what there is beside the claims: those
-- completed (with their attempts, only where some were refused), whether the rest stands in the way (due, special, paused), and
-- what comes, and the microseconds that the look at the front took. Not more is claimed than :most bytes of data, but for the
-- first job. The UPDATE takes the locked rows by their place in the table, never by a join, which a server that does not
-- know yet how many wait answers by reading all of them. A row that changed before it was locked has another place by
-- now, which this statement does not see: the next one takes it.
WITH clock AS MATERIALIZED (
    SELECT coalesce(:now::bigint, (extract(epoch FROM statement_timestamp()) * 1000000)::bigint) AS now
), done AS (
    DELETE FROM workqueue.jobs WHERE id = ANY (:ids::bigint[])
       AND ((id, attempt, runner)
            IN (SELECT s.* FROM unnest(:ids::bigint[], :attempts::int[], :runners::bigint[]) AS s)) IS TRUE
    RETURNING id, attempt
), front AS MATERIALIZED (
    SELECT ctid, special, octet_length(data) AS bytes FROM workqueue.jobs
     WHERE queue = :queue AND ready = 1 AND lost = 0
       AND (-priority, position, id) >= (:from_priority::bigint, :from_position::bigint, :from_id::bigint)
     ORDER BY -priority, position, id LIMIT :limit FOR NO KEY UPDATE SKIP LOCKED
), fitting AS MATERIALIZED (
    SELECT ctid, bytes, sum(bytes) OVER (ROWS UNBOUNDED PRECEDING) AS total FROM front
), looked AS MATERIALIZED (
    SELECT clock_timestamp() AS began, EXISTS (SELECT 1 FROM front WHERE special) AS special,
           clock_timestamp() AS ended
), beside AS MATERIALIZED (
    SELECT (SELECT min(run_at) FROM workqueue.jobs WHERE queue = :queue AND ready = 0) AS run_at,
           (SELECT min(opens_at) FROM workqueue.closed_lanes WHERE queue = :queue) AS opens_at,
           EXISTS (SELECT 1 FROM workqueue.jobs WHERE queue = :queue AND ready = 1 AND lost > 0) AS suspects,
           EXISTS (SELECT 1 FROM workqueue.pauses WHERE queue = :queue) AS paused,
           special, (extract(epoch FROM ended - began) * 1000000)::bigint AS took
      FROM looked
), taken AS (
    UPDATE workqueue.jobs AS j
       SET status = 4, ready = NULL, attempt = j.attempt + 1, runner = :runner, token = :token,
           lease_until = (SELECT now FROM clock) + :lease
     WHERE j.ctid = ANY (ARRAY(SELECT ctid FROM fitting WHERE total <= :most::bigint OR total = bytes))
       AND NOT (SELECT paused OR special OR coalesce(least(run_at, opens_at) <= (SELECT now FROM clock), false) FROM beside)
    RETURNING j.id, j.name, j.attempt, j.retry_count, j.lost, j.priority, j.position, j.run_at, j.pushed_at, j.backoff, j.data,
              j.headers
)
SELECT NULL::bigint, (SELECT now FROM clock), b.run_at, b.opens_at, b.suspects, b.paused, b.special,
       (SELECT count(*) FROM done), 0, 0, 0, b.took, NULL::text, NULL::bytea, NULL::text,
       CASE WHEN (SELECT count(*) FROM done) < :count THEN (SELECT array_agg(ARRAY[id, attempt]) FROM done) END
  FROM beside AS b
UNION ALL
SELECT id, run_at, priority, position, false, NULL, NULL, backoff, attempt, retry_count, lost, pushed_at, name, data, headers,
       NULL
  FROM taken;

-- name: claimed_by
-- What a claim took whose answer was lost.
SELECT id, run_at, priority, position, special, NULL::bool, NULL::bool, backoff, attempt, retry_count, lost, pushed_at,
       name, data, headers, lease_until
  FROM workqueue.jobs WHERE status = 4 AND runner = :runner AND token = :token;

-- name: completed
-- The fence, here and wherever a claim ends: its attempt, and its runner. A standby that took over may not know of a
-- claim, and lets another runner have the job under the same attempt.
DELETE FROM workqueue.jobs WHERE id = ANY (:ids::bigint[])
   AND ((id, attempt, runner)
        IN (SELECT s.* FROM unnest(:ids::bigint[], :attempts::int[], :runners::bigint[]) AS s)) IS TRUE
RETURNING id, attempt;

-- name: locked
-- Those of the jobs that another transaction has locked at this moment.
WITH free AS MATERIALIZED (
    SELECT id FROM workqueue.jobs WHERE id = ANY (:ids::bigint[]) FOR UPDATE SKIP LOCKED
)
SELECT id FROM workqueue.jobs
 WHERE id = ANY (:ids::bigint[]) AND id NOT IN (SELECT id FROM free);

-- name: line
-- The front of a queue, locked: who claims beside us looks past it.
SELECT id, run_at, priority, position, special, NULL::bool, NULL::bool, backoff, attempt + 1, retry_count, lost,
       pushed_at, name, data, headers
  FROM workqueue.jobs WHERE queue = :queue AND ready = 1 AND lost = 0
 ORDER BY -priority, position, id LIMIT :limit FOR NO KEY UPDATE SKIP LOCKED;

-- name: line_alone
SELECT id, run_at, priority, position, special, NULL::bool, NULL::bool, backoff, attempt + 1, retry_count, lost,
       pushed_at, name, data, headers
  FROM workqueue.jobs WHERE queue = :queue AND ready = 1 AND lost > 0
 ORDER BY priority DESC, position, id LIMIT :limit FOR NO KEY UPDATE SKIP LOCKED;

-- name: claim
-- Jobs that `line` or `line_alone` has locked.
UPDATE workqueue.jobs
   SET status = 4, ready = NULL, attempt = attempt + 1, runner = :runner, token = :token, lease_until = :lease_until
 WHERE id = ANY (:ids::bigint[]);

-- name: horizon
SELECT EXISTS (SELECT 1 FROM workqueue.jobs WHERE queue = :queue AND ready = 1 AND lost > 0),
       (SELECT min(run_at) FROM workqueue.jobs WHERE queue = :queue AND ready = 0),
       (SELECT min(opens_at) FROM workqueue.closed_lanes WHERE queue = :queue);

-- name: completed_and_kept
-- Those of the jobs that run as these attempts, taken from where they were and kept; :claimed has when each was claimed.
WITH gone AS (
    DELETE FROM workqueue.jobs WHERE id = ANY (:ids::bigint[])
       AND ((id, attempt, runner)
            IN (SELECT s.* FROM unnest(:ids::bigint[], :attempts::int[], :runners::bigint[]) AS s)) IS TRUE
    RETURNING *
), kept AS (
    INSERT INTO workqueue.completed (id, queue, name, priority, run_at, pushed_at, claimed_at, settled_at, backoff,
                                     attempt, retry_count, lost, runner, headers, data)
    SELECT g.id, g.queue, g.name, g.priority, g.run_at, g.pushed_at,
           (:claimed::bigint[])[array_position(:ids::bigint[], g.id)],
           coalesce(:now::bigint, (extract(epoch FROM statement_timestamp()) * 1000000)::bigint), g.backoff,
           g.attempt, g.retry_count, g.lost,
           coalesce((SELECT r.label FROM workqueue.runners AS r WHERE r.id = g.runner), ''),
           g.headers, g.data
      FROM gone AS g
)
SELECT id, attempt FROM gone;

-- name: complete
DELETE FROM workqueue.jobs
 WHERE id = ANY (ARRAY(SELECT i.id::bigint FROM json_array_elements_text(:ids::json) AS i (id)))
   AND attempt = :attempt AND runner = :runner;

-- name: keep_completed
-- Rows [id, claimed_at], of those that run as :attempt of :runner; before `complete` takes them from where they were.
WITH s AS MATERIALIZED (
    SELECT (r ->> 0)::bigint AS id, (r ->> 1)::bigint AS claimed_at FROM json_array_elements(:rows::json) AS r
)
INSERT INTO workqueue.completed (id, queue, name, priority, run_at, pushed_at, claimed_at, settled_at, backoff, attempt,
                                 retry_count, lost, runner, spec, headers, data)
SELECT j.id, j.queue, j.name, j.priority, j.run_at, j.pushed_at, s.claimed_at, :now, j.backoff, j.attempt,
       j.retry_count, j.lost, coalesce((SELECT r.label FROM workqueue.runners AS r WHERE r.id = j.runner), ''),
       (SELECT t.spec FROM workqueue.terms AS t WHERE t.job = j.id), j.headers, j.data
  FROM workqueue.jobs AS j JOIN s ON s.id = j.id
 WHERE j.id = ANY (ARRAY(SELECT id FROM s)) AND j.attempt = :attempt AND j.runner = :runner;

-- name: settle
-- Rows [id, attempt, lease or null, status, run_at or null, failures, losses, message, runner]. A verdict by a rescuer names the
-- lease it saw; a null run_at leaves the old one (handed back: it was due before).
WITH s AS MATERIALIZED (
    SELECT (r ->> 0)::bigint AS id, (r ->> 1)::int AS attempt, (r ->> 2)::bigint AS lease, (r ->> 3)::smallint AS status,
           (r ->> 4)::bigint AS run_at, (r ->> 5)::int AS failures, (r ->> 6)::int AS losses, r ->> 7 AS message,
           (r ->> 8)::bigint AS runner
      FROM json_array_elements(:rows::json) AS r ORDER BY 1
)
UPDATE workqueue.jobs AS j
   SET status = CASE WHEN s.status IN (0, 2) AND j.cancel_requested THEN 5 ELSE s.status END,
       ready = CASE WHEN s.status IN (0, 2) AND NOT j.cancel_requested
                    THEN CASE WHEN s.run_at > :now THEN 0 ELSE 1 END END,
       settled_at = CASE WHEN s.status NOT IN (0, 2) OR j.cancel_requested THEN :now::bigint END,
       run_at = coalesce(s.run_at, j.run_at),
       position = CASE WHEN j.position <> 0 THEN coalesce(s.run_at, j.position) ELSE 0 END,
       retry_count = j.retry_count + s.failures,
       lost = j.lost + s.losses,
       message = CASE WHEN s.message <> '' THEN s.message ELSE j.message END,
       cancel_requested = false, runner = NULL, lease_until = NULL, token = NULL, claimed_at = NULL
  FROM s
 WHERE j.id = s.id AND j.id = ANY (ARRAY(SELECT id FROM s))
   AND j.attempt = s.attempt AND j.runner = s.runner
   AND (s.lease IS NULL OR j.lease_until = s.lease);

-- name: drop_failed
DELETE FROM workqueue.jobs
 WHERE status = 3 AND id = ANY (ARRAY(SELECT i.id::bigint FROM json_array_elements_text(:ids::json) AS i (id)));

-- name: add_history
INSERT INTO workqueue.attempts (job, attempt, runner, started_at, duration, outcome, error, traceback)
SELECT (r ->> 0)::bigint, (r ->> 1)::int,
       coalesce((SELECT label FROM workqueue.runners WHERE id = (r ->> 2)::bigint), ''),
       (r ->> 3)::bigint, (r ->> 4)::bigint, r ->> 5, r ->> 6, r ->> 7
  FROM json_array_elements(:rows::json) AS r;

-- name: cap_history
DELETE FROM workqueue.attempts WHERE job = :job AND attempt NOT IN (
    SELECT attempt FROM workqueue.attempts WHERE job = :job ORDER BY attempt DESC LIMIT :keep);

-- name: holds
SELECT EXISTS (SELECT 1 FROM workqueue.jobs WHERE id = :id AND attempt = :attempt AND runner = :runner);

-- name: cancellable
SELECT EXISTS (SELECT 1 FROM workqueue.jobs WHERE id = :id AND status IN (0, 2, 4));

-- name: known
-- Whether the job is here, whatever became of it.
SELECT EXISTS (SELECT 1 FROM workqueue.jobs WHERE id = :id) OR EXISTS (SELECT 1 FROM workqueue.completed WHERE id = :id);

-- name: settled
SELECT EXISTS (SELECT 1 FROM workqueue.jobs WHERE id = :id AND settled_at IS NOT NULL);

-- name: enlist
INSERT INTO workqueue.runners (queue, label, started_at, session_pid, session_start)
VALUES (:queue, :label, :now, :pid, :start) RETURNING id;

-- name: introduce
UPDATE workqueue.runners SET lease = :lease, knows = :knows WHERE id = :runner;

-- name: retire
DELETE FROM workqueue.runners
 WHERE id = :id AND NOT EXISTS (SELECT 1 FROM workqueue.jobs WHERE status = 4 AND runner = :id);

-- name: runners
SELECT coalesce(json_agg(id), '[]')::text FROM workqueue.runners;

-- name: session
-- The server's process that serves this connection, where it can be told from others that had its number.
SELECT pg_backend_pid(), (extract(epoch FROM backend_start) * 1000000)::bigint
  FROM pg_stat_activity WHERE pid = pg_backend_pid();

-- name: move_runners
UPDATE workqueue.runners SET session_pid = :pid, session_start = :start WHERE id = ANY (:ids::bigint[]);

-- name: enlist_again
-- Those who were struck off though they lived, or of whom a standby that took over had not heard.
INSERT INTO workqueue.runners (id, queue, label, started_at, session_pid, session_start) OVERRIDING SYSTEM VALUE
SELECT e.id, e.queue, e.label, e.started_at, :pid, :start
  FROM unnest(:ids::bigint[], :queues::text[], :labels::text[], :started::bigint[]) AS e (id, queue, label, started_at)
    ON CONFLICT DO NOTHING;

-- name: present
-- Which of these jobs are there still.
SELECT id FROM workqueue.jobs WHERE id = ANY (:ids::bigint[]);

-- name: sessions
-- Of these runners: the session each is tied to, whether it is there no more, and whether that proves something. One that
-- began before the server did proves nothing: a restart ends the sessions of the living too. Nor does one of another
-- server, whose place this one took: what it knows of that, it knows from before the last that it replayed. A runner
-- that is not on the list has no row here.
SELECT r.id, r.session_pid, r.session_start,
       r.session_pid IS NOT NULL
       AND NOT EXISTS (SELECT 1 FROM pg_stat_activity AS a WHERE a.pid = r.session_pid
                       AND (a.backend_start IS NULL
                            OR (extract(epoch FROM a.backend_start) * 1000000)::bigint = r.session_start)),
       r.session_start > (extract(epoch FROM greatest(pg_postmaster_start_time(), pg_last_xact_replay_timestamp()))
                          * 1000000)::bigint
  FROM workqueue.runners AS r WHERE r.id = ANY (:ids::bigint[]);

-- name: beat
-- Past rows that somebody settles at this moment: a beat waits for nobody. The first one after a claim keeps when that
-- was, before it changes the lease that tells.
UPDATE workqueue.jobs
   SET claimed_at = coalesce(claimed_at, lease_until - :lease),
       lease_until = coalesce(:now::bigint, (extract(epoch FROM statement_timestamp()) * 1000000)::bigint) + :lease
 WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM workqueue.jobs WHERE status = 4 AND runner = :runner FOR NO KEY UPDATE SKIP LOCKED));

-- name: held
SELECT coalesce(json_agg(json_build_array(id, attempt, cancel_requested::int)), '[]')::text
  FROM workqueue.jobs WHERE status = 4 AND runner = :runner;

-- name: holders
SELECT coalesce(json_agg(runner), '[]')::text FROM (SELECT DISTINCT runner FROM workqueue.jobs WHERE status = 4) AS held;

-- name: orphans
-- Past rows that somebody has locked: who vanished while it completed one holds it until the server knows, and a rescuer
-- that waited for it would bring back nothing else.
WITH orphaned AS MATERIALIZED (
    SELECT id FROM workqueue.jobs
     WHERE status = 4 AND (runner = ANY (:dead::bigint[]) OR lease_until < :expired_before)
)
SELECT id, runner, lease_until FROM workqueue.jobs
 WHERE id = ANY (ARRAY(SELECT id FROM orphaned)) AND lease_until IS NOT NULL
 ORDER BY id LIMIT :limit FOR NO KEY UPDATE SKIP LOCKED;

-- name: get
-- A rule that a failover has lost is the default one.
SELECT j.id, j.queue, j.name, j.status, j.priority, j.run_at, j.pushed_at, j.settled_at, j.attempt, j.retry_count,
       j.lost, j.cancel_requested::int, j.message, j.data, coalesce(b.rule, '{}'),
       (SELECT t.spec FROM workqueue.terms AS t WHERE t.job = j.id),
       coalesce(j.claimed_at, j.lease_until - (SELECT r.lease FROM workqueue.runners AS r WHERE r.id = j.runner)),
       coalesce((SELECT r.label FROM workqueue.runners AS r WHERE r.id = j.runner), ''), j.headers
  FROM workqueue.jobs AS j LEFT JOIN workqueue.backoffs AS b ON b.id = j.backoff
 WHERE j.id = :id
UNION ALL
SELECT c.id, c.queue, c.name, 1, c.priority, c.run_at, c.pushed_at, c.settled_at, c.attempt, c.retry_count,
       c.lost, 0, '', c.data, coalesce(b.rule, '{}'), c.spec, c.claimed_at, c.runner, c.headers
  FROM workqueue.completed AS c LEFT JOIN workqueue.backoffs AS b ON b.id = c.backoff
 WHERE c.id = :id;

-- name: jobs_of
SELECT j.id, j.queue, j.name, j.status, j.priority, j.run_at, j.pushed_at, j.settled_at, j.attempt, j.retry_count,
       j.lost, j.cancel_requested::int, j.message, j.data, coalesce(b.rule, '{}'),
       (SELECT t.spec FROM workqueue.terms AS t WHERE t.job = j.id),
       coalesce(j.claimed_at, j.lease_until - (SELECT r.lease FROM workqueue.runners AS r WHERE r.id = j.runner)),
       coalesce((SELECT r.label FROM workqueue.runners AS r WHERE r.id = j.runner), ''), j.headers
  FROM workqueue.jobs AS j LEFT JOIN workqueue.backoffs AS b ON b.id = j.backoff
 WHERE j.id = ANY (ARRAY(SELECT i.id::bigint FROM json_array_elements_text(:ids::json) AS i (id)))
UNION ALL
SELECT c.id, c.queue, c.name, 1, c.priority, c.run_at, c.pushed_at, c.settled_at, c.attempt, c.retry_count,
       c.lost, 0, '', c.data, coalesce(b.rule, '{}'), c.spec, c.claimed_at, c.runner, c.headers
  FROM workqueue.completed AS c LEFT JOIN workqueue.backoffs AS b ON b.id = c.backoff
 WHERE c.id = ANY (ARRAY(SELECT i.id::bigint FROM json_array_elements_text(:ids::json) AS i (id)));

-- name: walk
-- The next jobs by id, upwards or down: of two halves one is empty.
SELECT coalesce(json_agg(id), '[]')::text FROM (
    (SELECT id FROM workqueue.jobs WHERE :up::bool AND id > :after AND id < :before ORDER BY id LIMIT :most)
    UNION ALL
    (SELECT id FROM workqueue.jobs WHERE NOT :up::bool AND id > :after AND id < :before ORDER BY id DESC LIMIT :most)
  ) AS next;

-- name: walk_completed
SELECT coalesce(json_agg(id), '[]')::text FROM (
    (SELECT id FROM workqueue.completed WHERE :up::bool AND id > :after AND id < :before ORDER BY id LIMIT :most)
    UNION ALL
    (SELECT id FROM workqueue.completed WHERE NOT :up::bool AND id > :after AND id < :before
      ORDER BY id DESC LIMIT :most)
  ) AS next;

-- name: completed_ids
SELECT coalesce(json_agg(id), '[]')::text FROM (
    (SELECT id FROM workqueue.completed
      WHERE :up::bool AND attempt > 0
        AND (queue, id) > (:queue, :after::bigint) AND (queue, id) < (:queue, :before::bigint)
      ORDER BY queue, id LIMIT :most)
    UNION ALL
    (SELECT id FROM workqueue.completed
      WHERE NOT :up::bool AND attempt > 0
        AND (queue, id) > (:queue, :after::bigint) AND (queue, id) < (:queue, :before::bigint)
      ORDER BY queue DESC, id DESC LIMIT :most)
  ) AS next;

-- name: batch_ids
-- Of a batch: those that wait or run, where :open; else those that failed or were cancelled.
SELECT coalesce(json_agg(job), '[]')::text FROM (
    (SELECT job FROM workqueue.terms
      WHERE :up::bool AND batch = :batch::bigint AND is_open = :open::bool AND job > :after AND job < :before
      ORDER BY batch, is_open, job LIMIT :most)
    UNION ALL
    (SELECT job FROM workqueue.terms
      WHERE NOT :up::bool AND batch = :batch::bigint AND is_open = :open::bool AND job > :after AND job < :before
      ORDER BY batch DESC, is_open DESC, job DESC LIMIT :most)
  ) AS next;

-- name: batch_completed_ids
SELECT coalesce(json_agg(id), '[]')::text FROM (
    (SELECT id FROM workqueue.completed
      WHERE :up::bool AND substring(spec from '"batch":(\d+)')::bigint = :batch::bigint AND id > :after AND id < :before
      ORDER BY id LIMIT :most)
    UNION ALL
    (SELECT id FROM workqueue.completed
      WHERE NOT :up::bool AND substring(spec from '"batch":(\d+)')::bigint = :batch::bigint AND id > :after AND id < :before
      ORDER BY id DESC LIMIT :most)
  ) AS next;

-- name: settled_ids
-- Compared as rows, so that the order is that of no other index.
SELECT coalesce(json_agg(id), '[]')::text FROM (
    (SELECT id FROM workqueue.jobs
      WHERE :up::bool AND settled_at IS NOT NULL
        AND (queue, status, id) > (:queue, :status::smallint, :after::bigint)
        AND (queue, status, id) < (:queue, :status::smallint, :before::bigint)
      ORDER BY queue, status, id LIMIT :most)
    UNION ALL
    (SELECT id FROM workqueue.jobs
      WHERE NOT :up::bool AND settled_at IS NOT NULL
        AND (queue, status, id) > (:queue, :status::smallint, :after::bigint)
        AND (queue, status, id) < (:queue, :status::smallint, :before::bigint)
      ORDER BY queue DESC, status DESC, id DESC LIMIT :most)
  ) AS next;

-- name: settled_queues
-- From one queue to the next, for each may have very many.
WITH RECURSIVE q (name) AS (
    (SELECT queue FROM workqueue.jobs WHERE settled_at IS NOT NULL AND queue >= '' ORDER BY queue LIMIT 1)
    UNION ALL
    SELECT (SELECT j.queue FROM workqueue.jobs AS j WHERE j.settled_at IS NOT NULL AND j.queue > q.name
             ORDER BY j.queue LIMIT 1)
      FROM q WHERE q.name IS NOT NULL)
SELECT coalesce(json_agg(name), '[]')::text FROM (SELECT name FROM q WHERE name IS NOT NULL LIMIT :most) AS known;

-- name: running_ids
SELECT coalesce(json_agg(id), '[]')::text FROM workqueue.jobs WHERE status = 4;

-- name: open_ids
-- Of a queue, in no order: those that run and those that wait, at most so many. In one statement, for they change places.
SELECT coalesce(json_agg(id), '[]')::text FROM (SELECT id FROM (
    SELECT id FROM workqueue.jobs WHERE queue = :queue AND status = 4
    UNION ALL SELECT id FROM workqueue.jobs WHERE queue = :queue AND ready = 1 AND lost = 0
    UNION ALL SELECT id FROM workqueue.jobs WHERE queue = :queue AND ready = 1 AND lost > 0
    UNION ALL SELECT id FROM workqueue.jobs WHERE queue = :queue AND ready = 0
    UNION ALL SELECT id FROM workqueue.jobs WHERE queue = :queue AND ready > 1) AS open LIMIT :most) AS found;

-- name: sizes
SELECT coalesce(json_agg(json_build_array(id, octet_length(data))), '[]')::text FROM (
    SELECT id, data FROM workqueue.jobs
     WHERE id = ANY (ARRAY(SELECT i.id::bigint FROM json_array_elements_text(:ids::json) AS i (id)))
    UNION ALL
    SELECT id, data FROM workqueue.completed
     WHERE id = ANY (ARRAY(SELECT i.id::bigint FROM json_array_elements_text(:ids::json) AS i (id)))) AS here;

-- name: matching
-- Of these ids, those of the jobs that are meant. What people look for is data: no pattern is made of it.
SELECT coalesce(json_agg(json_build_array(id, size, queue)), '[]')::text FROM (
    SELECT id, octet_length(data) AS size, queue FROM workqueue.jobs
     WHERE id = ANY (ARRAY(SELECT i.id::bigint FROM json_array_elements_text(:ids::json) AS i (id)))
       AND status = ANY (ARRAY(SELECT s.status::int FROM json_array_elements_text(:statuses::json) AS s (status)))
       AND (:queue::text IS NULL OR queue = :queue) AND (:name::text IS NULL OR name = :name)
       AND (:text::bytea IS NULL OR position(:text::bytea IN data) > 0
            OR position(:text::bytea IN convert_to(message, 'UTF8')) > 0)
    UNION ALL
    SELECT id, octet_length(data), queue FROM workqueue.completed
     WHERE 1 = ANY (ARRAY(SELECT s.status::int FROM json_array_elements_text(:statuses::json) AS s (status)))
       AND id = ANY (ARRAY(SELECT i.id::bigint FROM json_array_elements_text(:ids::json) AS i (id)))
       AND (:queue::text IS NULL OR queue = :queue) AND (:name::text IS NULL OR name = :name)
       AND (:text::bytea IS NULL OR position(:text::bytea IN data) > 0)) AS meant;

-- name: history
SELECT attempt, runner, started_at, duration, outcome, error, traceback
  FROM workqueue.attempts WHERE job = :id ORDER BY attempt;

-- name: cancel_running
UPDATE workqueue.jobs SET cancel_requested = true WHERE id = :id AND status = 4;

-- name: hasten
-- Those of them that wait for their time are due now: the next claim lets them stand in line.
UPDATE workqueue.jobs SET run_at = :now, position = CASE WHEN position <> 0 THEN :now::bigint ELSE 0 END
 WHERE id = ANY (:ids::bigint[]) AND status IN (0, 2) AND run_at > :now
RETURNING id;

-- name: not_due
-- Whether a job is settled, or waits for its time.
SELECT EXISTS (SELECT 1 FROM workqueue.jobs
                WHERE id = :id AND (settled_at IS NOT NULL OR status IN (0, 2) AND run_at > :now));

-- name: restore_failed
UPDATE workqueue.jobs SET status = 0, ready = 1, retry_count = 0, lost = 0, settled_at = NULL, message = '', run_at = :now,
       position = CASE WHEN position <> 0 THEN :now::bigint ELSE 0 END
 WHERE queue = :queue AND status = 3 AND settled_at IS NOT NULL AND NOT special
RETURNING id;

-- name: restore
UPDATE workqueue.jobs SET status = 0, ready = 1, retry_count = 0, lost = 0, settled_at = NULL, message = '', run_at = :now,
       position = CASE WHEN position <> 0 THEN :now::bigint ELSE 0 END
 WHERE queue = :queue AND status IN (3, 5)
   AND id = ANY (ARRAY(SELECT i.id::bigint FROM json_array_elements_text(:ids::json) AS i (id)))
RETURNING id;

-- name: special_failed
SELECT coalesce(json_agg(id), '[]')::text FROM workqueue.jobs
 WHERE queue = :queue AND status = 3 AND settled_at IS NOT NULL AND special;

-- name: special_restorable
SELECT coalesce(json_agg(id), '[]')::text FROM workqueue.jobs
 WHERE queue = :queue AND status IN (3, 5) AND special
   AND id = ANY (ARRAY(SELECT i.id::bigint FROM json_array_elements_text(:ids::json) AS i (id)));

-- name: reopen_terms
-- Not where another job has the key by now. A job that followed others follows nobody any more.
UPDATE workqueue.terms AS t SET is_open = true, follows = NULL, follows_batch = NULL
 WHERE t.job = :job AND NOT t.is_open
   AND NOT EXISTS (SELECT 1 FROM workqueue.terms AS o
                    WHERE o.queue = t.queue AND o.name = t.name AND o.key = t.key AND o.key IS NOT NULL AND o.is_open);

-- name: uncount
-- A restored job of a batch is under way again.
UPDATE workqueue.batches
   SET failed = failed - (:status::int = 3)::int, cancelled = cancelled - (:status::int = 5)::int, done_at = NULL
 WHERE id = (SELECT batch FROM workqueue.terms WHERE job = :job);

-- name: clean
DELETE FROM workqueue.jobs WHERE id = ANY (ARRAY(
    SELECT id FROM workqueue.jobs WHERE queue = :queue AND status = :status AND settled_at IS NOT NULL
     ORDER BY id LIMIT :limit FOR UPDATE))
RETURNING id;

-- name: delete_settled
DELETE FROM workqueue.jobs
 WHERE id = ANY (ARRAY(SELECT i.id::bigint FROM json_array_elements_text(:ids::json) AS i (id)))
   AND status IN (3, 5)
RETURNING id;

-- name: delete_completed
DELETE FROM workqueue.completed
 WHERE id = ANY (ARRAY(SELECT i.id::bigint FROM json_array_elements_text(:ids::json) AS i (id)))
RETURNING id;

-- name: nth_completed
-- The newest of those that are more than :count.
SELECT settled_at, id FROM workqueue.completed WHERE queue = :queue AND settled_at > 0
 ORDER BY queue DESC, settled_at DESC, id DESC LIMIT 1 OFFSET :count;

-- name: nth_failed
SELECT settled_at, id FROM workqueue.jobs WHERE queue = :queue AND status = 3 AND settled_at IS NOT NULL
 ORDER BY settled_at DESC, id DESC LIMIT 1 OFFSET :count;

-- name: nth_result
SELECT until, job FROM workqueue.results WHERE queue = :queue
 ORDER BY queue DESC, until DESC, job DESC LIMIT 1 OFFSET :count;

-- name: old_completed
-- Those settled up to a place in that order, the oldest first, with what they hold.
SELECT coalesce(json_agg(json_build_array(id, octet_length(data))), '[]')::text FROM (
    SELECT id, data FROM workqueue.completed
     WHERE settled_at > 0 AND (queue, settled_at, id) >= (:queue, 0, 0)
       AND (queue, settled_at, id) <= (:queue, :at::bigint, :last::bigint)
     ORDER BY queue, settled_at, id LIMIT :limit) AS old;

-- name: old_failed
-- No index has their order: in that of their ids, which is nearly the same.
SELECT coalesce(json_agg(json_build_array(id, octet_length(data))), '[]')::text FROM (
    SELECT id, data FROM workqueue.jobs
     WHERE settled_at IS NOT NULL AND (queue, status, id) > (:queue, 3::smallint, 0::bigint)
       AND (queue, status) <= (:queue, 3::smallint) AND (settled_at, id) <= (:at::bigint, :last::bigint)
     ORDER BY queue, status, id LIMIT :limit) AS old;

-- name: old_results
SELECT coalesce(json_agg(json_build_array(job, octet_length(result))), '[]')::text FROM (
    SELECT job, result FROM workqueue.results
     WHERE queue IS NOT NULL AND (queue, until, job) >= (:queue, 0, 0)
       AND (queue, until, job) <= (:queue, :at::bigint, :last::bigint)
     ORDER BY queue, until, job LIMIT :limit) AS old;

-- name: prune_failed
-- Not one that was restored since it was looked for, and has failed again.
DELETE FROM workqueue.jobs
 WHERE id = ANY (ARRAY(SELECT i.id::bigint FROM json_array_elements_text(:ids::json) AS i (id)))
   AND status = 3 AND coalesce(settled_at, 0) <= :at
RETURNING id;

-- name: prune_results
DELETE FROM workqueue.results
 WHERE job = ANY (ARRAY(SELECT i.id::bigint FROM json_array_elements_text(:ids::json) AS i (id)))
RETURNING job;

-- name: size
SELECT (SELECT count(*) FROM workqueue.jobs WHERE queue = :queue AND ready = 1 AND lost = 0)
     + (SELECT count(*) FROM workqueue.jobs WHERE queue = :queue AND ready = 1 AND lost > 0)
     + (SELECT count(*) FROM workqueue.jobs WHERE queue = :queue AND ready = 0)
     + (SELECT count(*) FROM workqueue.jobs WHERE queue = :queue AND ready > 1)
     + (SELECT count(*) FROM workqueue.jobs WHERE queue = :queue AND status = 4),
       (SELECT count(*) FROM workqueue.jobs WHERE queue = :queue AND status = 3 AND settled_at IS NOT NULL);

-- name: idle
SELECT NOT EXISTS (SELECT 1 FROM workqueue.jobs WHERE queue = :queue AND ready = 1 AND lost = 0)
   AND NOT EXISTS (SELECT 1 FROM workqueue.jobs WHERE queue = :queue AND ready = 1 AND lost > 0)
   AND NOT EXISTS (SELECT 1 FROM workqueue.jobs WHERE queue = :queue AND ready = 2)
   AND NOT EXISTS (SELECT 1 FROM workqueue.jobs WHERE queue = :queue AND status = 4)
   AND NOT EXISTS (SELECT 1 FROM workqueue.jobs WHERE queue = :queue AND ready = 0 AND run_at <= :now)
   AND NOT EXISTS (SELECT 1 FROM workqueue.jobs WHERE queue = :queue AND ready = 0 AND status = 2);

-- name: standings
-- For people. Kinds: 1 due, 0 later, 2 retrying (counted above already), 3 failed, 4 running, 5 cancelled, 6 completed.
SELECT coalesce(json_agg(json_build_array(queue, kind, jobs, oldest,
                                          (SELECT j.run_at FROM workqueue.jobs AS j WHERE j.id = oldest))), '[]')::text
  FROM (
    SELECT queue, 1 AS kind, count(*) AS jobs, min(id) AS oldest
      FROM workqueue.jobs WHERE ready = 1 AND lost = 0 GROUP BY queue
    UNION ALL SELECT queue, 1, count(*), min(id) FROM workqueue.jobs WHERE ready = 1 AND lost > 0 GROUP BY queue
    UNION ALL SELECT queue, 1, count(*), min(id) FROM workqueue.jobs WHERE ready = 0 AND run_at <= :now GROUP BY queue
    UNION ALL SELECT queue, 1, count(*), min(id) FROM workqueue.jobs WHERE ready = 2 GROUP BY queue
    UNION ALL SELECT queue, 0, count(*), NULL FROM workqueue.jobs WHERE ready = 3 GROUP BY queue
    UNION ALL SELECT queue, 0, count(*), NULL FROM workqueue.jobs WHERE ready = 0 AND run_at > :now GROUP BY queue
    UNION ALL SELECT queue, 2, count(*), NULL FROM workqueue.jobs WHERE status = 2 GROUP BY queue
    UNION ALL SELECT queue, 4, count(*), NULL FROM workqueue.jobs WHERE status = 4 GROUP BY queue
    UNION ALL SELECT queue, status, count(*), NULL FROM workqueue.jobs WHERE settled_at IS NOT NULL GROUP BY queue, status
    UNION ALL SELECT queue, 6, count(*), NULL FROM workqueue.completed WHERE attempt > 0 GROUP BY queue
    UNION ALL SELECT queue, 1, 0, NULL FROM workqueue.pauses  -- a pause is to be seen before there are jobs
  ) AS counted;

-- name: task_standings
-- For people. Of the newest jobs, because no index has their names. Kinds: as of standings.
SELECT queue, name,
       CASE WHEN status IN (3, 4, 5) THEN status WHEN ready IN (1, 2) OR ready = 0 AND run_at <= :now THEN 1 ELSE 0 END AS kind,
       count(*)
  FROM (SELECT queue, name, status, ready, run_at FROM workqueue.jobs ORDER BY id DESC LIMIT :most) AS newest
 GROUP BY queue, name, kind;

-- name: enlisted
SELECT coalesce(json_agg(json_build_array(id, queue, label, started_at, (
           SELECT count(*) FROM workqueue.jobs AS j WHERE j.status = 4 AND j.runner = r.id), knows::json) ORDER BY id), '[]')::text
  FROM workqueue.runners AS r;

-- name: put_schedule
-- The same again changes nothing; another of this name takes its place, and stays paused if it was.
INSERT INTO workqueue.schedules AS s (queue, name, spec, next_at) VALUES (:queue, :name, :spec, :first)
    ON CONFLICT (queue, name) DO UPDATE SET spec = excluded.spec, next_at = excluded.next_at WHERE s.spec <> excluded.spec;

-- name: due_schedules
SELECT name, next_at, spec FROM workqueue.schedules
 WHERE queue = :queue AND NOT paused AND next_at <= :now ORDER BY next_at, name;

-- name: next_slots
SELECT name, next_at FROM workqueue.schedules WHERE queue = :queue AND NOT paused ORDER BY next_at;

-- name: fire
-- Of all who saw the slot, the first finds it still there. Its jobs are pushed in the same transaction.
UPDATE workqueue.schedules SET next_at = :then WHERE queue = :queue AND name = :name AND next_at = :seen AND NOT paused;

-- name: fired
UPDATE workqueue.schedules SET last_at = :slot, last_job = :job WHERE queue = :queue AND name = :name;

-- name: slot_stands
SELECT EXISTS (SELECT 1 FROM workqueue.schedules WHERE queue = :queue AND name = :name AND next_at = :seen);

-- name: schedules
SELECT queue, name, spec, next_at, last_at, last_job, paused FROM workqueue.schedules
 WHERE :queue::text IS NULL OR queue = :queue ORDER BY queue, name;

-- name: schedule
SELECT spec, paused FROM workqueue.schedules WHERE queue = :queue AND name = :name;

-- name: pause_schedule
UPDATE workqueue.schedules SET paused = true WHERE queue = :queue AND name = :name;

-- name: resume_schedule
UPDATE workqueue.schedules SET paused = false, next_at = :then WHERE queue = :queue AND name = :name;

-- name: forget_schedule
DELETE FROM workqueue.schedules WHERE queue = :queue AND name = :name;

-- name: check_jobs
SELECT (SELECT count(*) FROM workqueue.attempts AS a
         WHERE NOT EXISTS (SELECT 1 FROM workqueue.jobs AS j WHERE j.id = a.job)
           AND NOT EXISTS (SELECT 1 FROM workqueue.completed AS c WHERE c.id = a.job)),
       (SELECT count(*) FROM workqueue.jobs AS j
         WHERE NOT EXISTS (SELECT 1 FROM workqueue.backoffs AS b WHERE b.id = j.backoff)),
       (SELECT count(*) FROM workqueue.attempts AS a JOIN workqueue.jobs AS j ON j.id = a.job WHERE a.attempt > j.attempt),
       (SELECT count(*) FROM workqueue.completed AS c JOIN workqueue.jobs AS j ON j.id = c.id),
       (SELECT count(*) FROM workqueue.completed AS c
         WHERE NOT EXISTS (SELECT 1 FROM workqueue.backoffs AS b WHERE b.id = c.backoff)),
       (SELECT count(*) FROM workqueue.attempts AS a JOIN workqueue.completed AS c ON c.id = a.job
         WHERE a.attempt >= c.attempt);

-- name: check_rows
SELECT count(*) FROM workqueue.jobs
 WHERE status NOT IN (0, 2, 3, 4, 5) OR (status IN (0, 2)) <> (ready IS NOT NULL) OR (status = 4) <> (runner IS NOT NULL)
    OR (status = 4) <> (lease_until IS NOT NULL) OR (status IN (3, 5)) <> (settled_at IS NOT NULL)
    OR (status <> 4 AND claimed_at IS NOT NULL)
    OR (status = 4 AND attempt < 1) OR (status = 2 AND retry_count + lost < 1) OR (ready > 1 AND NOT special);

-- name: check_terms
SELECT (SELECT count(*) FROM workqueue.jobs WHERE special AND id NOT IN (SELECT job FROM workqueue.terms)),
       (SELECT count(*) FROM workqueue.terms WHERE job NOT IN (SELECT id FROM workqueue.jobs WHERE special)),
       (SELECT count(*) FROM workqueue.terms AS t JOIN workqueue.jobs AS j ON j.id = t.job WHERE t.runs <> (j.status = 4)),
       (SELECT count(*) FROM workqueue.terms AS t JOIN workqueue.jobs AS j ON j.id = t.job
         WHERE t.is_open <> (j.settled_at IS NULL)),
       (SELECT count(*) FROM workqueue.terms AS t JOIN workqueue.jobs AS j ON j.id = t.job
         WHERE (t.kept_by IS NOT NULL) <> (j.ready IS NOT DISTINCT FROM 2)),
       (SELECT count(*) FROM workqueue.terms AS t JOIN workqueue.jobs AS j ON j.id = t.job
         WHERE j.ready = 3 AND t.follows IS NULL AND t.follows_batch IS NULL);

-- name: add_terms
-- Rows [job, spec, key, expires_at, limit lane, rate lane, order lane, batch, follows, follows_batch]. The place of a job
-- is noted when it is kept back.
INSERT INTO workqueue.terms (job, queue, name, priority, position, spec, key, expires_at, limit_lane, rate_lane,
                             order_lane, batch, follows, follows_batch)
SELECT (r ->> 0)::bigint, :queue, :name, :priority, 0, r ->> 1, r ->> 2, (r ->> 3)::bigint, r ->> 4, r ->> 5,
       r ->> 6, (r ->> 7)::bigint, (r ->> 8)::bigint, (r ->> 9)::bigint
  FROM json_array_elements(:rows::json) AS r;

-- name: key_holder
-- The second is until when it may wait, if it waits and that is limited.
SELECT job, CASE WHEN NOT runs THEN expires_at END
  FROM workqueue.terms WHERE queue = :queue AND name = :name AND key = :key AND is_open;

-- name: key_taken
SELECT job FROM workqueue.taken_keys WHERE queue = :queue AND name = :name AND key = :key AND until > :now;

-- name: take_key
-- Not from whoever took it since we looked.
INSERT INTO workqueue.taken_keys AS t (queue, name, key, job, until, taken_at)
VALUES (:queue, :name, :key, :job, :until, :now)
    ON CONFLICT (queue, name, key)
    DO UPDATE SET job = excluded.job, until = excluded.until, taken_at = excluded.taken_at WHERE t.until <= :now;

-- name: free_key
DELETE FROM workqueue.taken_keys WHERE queue = :queue AND name = :name AND key = :key;

-- name: terms_of
SELECT coalesce(json_agg(json_build_array(job, queue, spec)), '[]')::text FROM workqueue.terms
 WHERE job = ANY (ARRAY(SELECT i.id::bigint FROM json_array_elements_text(:ids::json) AS i (id)));

-- name: limit_runs
SELECT count(*) FROM workqueue.terms WHERE queue = :queue AND limit_lane = :lane AND runs;

-- name: is_behind
-- Whether an earlier job for the same order runs, waits for another try, or is due; or any of them runs.
SELECT EXISTS (SELECT 1 FROM workqueue.terms AS t
                WHERE t.queue = :queue AND t.order_lane = :lane AND t.is_open
                  AND t.job < :job
                  AND (SELECT j.status IN (2, 4) OR j.ready IN (1, 2) FROM workqueue.jobs AS j WHERE j.id = t.job))
    OR EXISTS (SELECT 1 FROM workqueue.terms
                WHERE queue = :queue AND order_lane = :lane AND job > :job AND runs);

-- name: count_starts
SELECT count(*) FROM workqueue.starts WHERE queue = :queue AND lane = :lane AND at > :since;

-- name: nth_start
-- The start before which :before others came later: when it is out of sight, there is room for one. Those that are out
-- of sight were forgotten.
SELECT at FROM workqueue.starts WHERE queue = :queue AND lane = :lane ORDER BY at DESC LIMIT 1 OFFSET :before;

-- name: forget_starts
-- Those of long ago, and those of a clock that was set back since.
DELETE FROM workqueue.starts WHERE queue = :queue AND lane = :lane AND (at <= :since OR at > :now);

-- name: add_starts
INSERT INTO workqueue.starts (queue, lane, at)
SELECT :queue, l.lane, :now FROM json_array_elements_text(:lanes::json) AS l (lane);

-- name: keep_back
-- Rows [job, kept_by]. The best of those kept back is found by their place: in a queue by time a retry moves it.
UPDATE workqueue.terms AS t
   SET kept_by = (r ->> 1)::smallint, position = (SELECT j.position FROM workqueue.jobs AS j WHERE j.id = t.job)
  FROM json_array_elements(:rows::json) AS r
 WHERE t.job = (r ->> 0)::bigint
   AND t.job = ANY (ARRAY(SELECT (r ->> 0)::bigint FROM json_array_elements(:rows::json) AS r));

-- name: kept_back
UPDATE workqueue.jobs SET ready = 2
 WHERE ready = 1
   AND id = ANY (ARRAY(SELECT (r ->> 0)::bigint FROM json_array_elements(:rows::json) AS r));

-- name: pause_terms
-- Plain jobs get terms when a pause keeps them back.
INSERT INTO workqueue.terms (job, queue, name, priority, position, spec)
SELECT id, queue, name, priority, position, '{}' FROM workqueue.jobs
 WHERE id = ANY (ARRAY(SELECT i.id::bigint FROM json_array_elements_text(:ids::json) AS i (id)))
    ON CONFLICT DO NOTHING;

-- name: make_special
UPDATE workqueue.jobs SET special = true
 WHERE NOT special AND id = ANY (ARRAY(SELECT i.id::bigint FROM json_array_elements_text(:ids::json) AS i (id)));

-- name: let_go_limited
-- The best that a lane keeps back: ids.
SELECT coalesce(json_agg(job), '[]')::text FROM (
    SELECT job FROM workqueue.terms WHERE queue = :queue AND limit_lane = :lane AND kept_by = 1
     ORDER BY priority DESC, position, job LIMIT :limit) AS best;

-- name: let_go_rated
SELECT coalesce(json_agg(job), '[]')::text FROM (
    SELECT job FROM workqueue.terms WHERE queue = :queue AND rate_lane = :lane AND kept_by = 3
     ORDER BY priority DESC, position, job LIMIT :limit) AS best;

-- name: let_go_ordered
SELECT coalesce(json_agg(job), '[]')::text FROM (
    SELECT job FROM workqueue.terms
     WHERE queue = :queue AND order_lane = :lane AND is_open AND kept_by = 2
     ORDER BY job LIMIT :limit) AS first;

-- name: let_go_paused
SELECT coalesce(json_agg(job), '[]')::text FROM (
    SELECT job FROM workqueue.terms WHERE queue = :queue AND name = :name AND kept_by = 4 ORDER BY job LIMIT :limit) AS kept;

-- name: paused_names
SELECT coalesce(json_agg(DISTINCT name), '[]')::text FROM workqueue.terms WHERE queue = :queue AND kept_by = 4;

-- name: free_terms
UPDATE workqueue.terms SET kept_by = NULL
 WHERE job = ANY (ARRAY(SELECT i.id::bigint FROM json_array_elements_text(:ids::json) AS i (id)));

-- name: free_jobs
UPDATE workqueue.jobs SET ready = 1
 WHERE ready = 2 AND id = ANY (ARRAY(SELECT i.id::bigint FROM json_array_elements_text(:ids::json) AS i (id)));

-- name: in_order
SELECT coalesce(json_agg(id ORDER BY priority DESC, position, id), '[]')::text FROM workqueue.jobs
 WHERE id = ANY (ARRAY(SELECT i.id::bigint FROM json_array_elements_text(:ids::json) AS i (id)));

-- name: start_terms
UPDATE workqueue.terms SET runs = true
 WHERE job = ANY (ARRAY(SELECT i.id::bigint FROM json_array_elements_text(:ids::json) AS i (id)));

-- name: stop_terms
UPDATE workqueue.terms SET runs = false
 WHERE job = ANY (ARRAY(SELECT i.id::bigint FROM json_array_elements_text(:ids::json) AS i (id)));

-- name: end_terms
UPDATE workqueue.terms SET runs = false, is_open = false, kept_by = NULL
 WHERE job = ANY (ARRAY(SELECT i.id::bigint FROM json_array_elements_text(:ids::json) AS i (id)));

-- name: drop_terms
DELETE FROM workqueue.terms AS t
 WHERE t.job = ANY (ARRAY(SELECT i.id::bigint FROM json_array_elements_text(:ids::json) AS i (id)))
   AND NOT EXISTS (SELECT 1 FROM workqueue.jobs AS j WHERE j.id = t.job OFFSET 0);

-- name: opening_lanes
SELECT coalesce(json_agg(json_build_array(lane, most)), '[]')::text FROM (
    SELECT lane, most FROM workqueue.closed_lanes
     WHERE queue = :queue AND opens_at <= :now ORDER BY opens_at LIMIT :limit) AS opening;

-- name: close_lane
INSERT INTO workqueue.closed_lanes (queue, lane, most, opens_at, closed_at)
SELECT :queue, :lane, :most, :opens_at, :now
 WHERE EXISTS (SELECT 1 FROM workqueue.terms WHERE queue = :queue AND rate_lane = :lane AND kept_by = 3)
    ON CONFLICT (queue, lane)
    DO UPDATE SET most = excluded.most, opens_at = excluded.opens_at, closed_at = excluded.closed_at;

-- name: open_lane
DELETE FROM workqueue.closed_lanes WHERE queue = :queue AND lane = :lane
   AND NOT EXISTS (SELECT 1 FROM workqueue.terms WHERE queue = :queue AND rate_lane = :lane AND kept_by = 3);

-- name: delay_lane
UPDATE workqueue.closed_lanes SET opens_at = :opens_at, closed_at = :now WHERE queue = :queue AND lane = :lane;

-- name: reopen_lanes
-- Those that closed before the clock was set back, of all queues.
UPDATE workqueue.closed_lanes SET opens_at = :now, closed_at = :now WHERE closed_at > :now;

-- name: cancel_job
-- One that waits, for a reason of ours.
UPDATE workqueue.jobs SET status = 5, ready = NULL, settled_at = :now, message = :message
 WHERE id = :id AND status IN (0, 2);

-- name: cancel_plain
-- Those of them that wait and have no terms, of which nothing follows.
UPDATE workqueue.jobs SET status = 5, ready = NULL, settled_at = :now, message = :message
 WHERE id = ANY (ARRAY(SELECT i.id::bigint FROM json_array_elements_text(:ids::json) AS i (id)))
   AND status IN (0, 2) AND NOT special
RETURNING id;

-- name: followers
SELECT coalesce(json_agg(job), '[]')::text FROM workqueue.terms WHERE follows = :job AND is_open;

-- name: batch_followers
SELECT coalesce(json_agg(job), '[]')::text FROM workqueue.terms
 WHERE follows_batch = :batch AND is_open;

-- name: unfollow
UPDATE workqueue.terms SET follows = NULL, follows_batch = NULL WHERE job = :job;

-- name: call_follower
UPDATE workqueue.jobs SET ready = (run_at <= :now)::int WHERE id = :job AND ready = 3;

-- name: data_of
SELECT data FROM workqueue.jobs WHERE id = :job;

-- name: set_data
UPDATE workqueue.jobs SET data = :data
 WHERE id = :job AND status <> 4 AND (:was::bytea IS NULL OR data = :was);

-- name: open_batch
INSERT INTO workqueue.batches (queue) VALUES (:queue) RETURNING id;

-- name: seal_batch
UPDATE workqueue.batches SET sealed = true WHERE id = :batch;

-- name: batch
SELECT id, queue, sealed, total, completed, failed, cancelled FROM workqueue.batches WHERE id = :batch;

-- name: newest_batches
SELECT id, queue, sealed, total, completed, failed, cancelled FROM workqueue.batches
 WHERE id < :before ORDER BY id DESC LIMIT :limit;

-- name: count_in
UPDATE workqueue.batches SET total = total + :count WHERE id = :batch AND NOT sealed;

-- name: count_out
UPDATE workqueue.batches
   SET completed = completed + :completed, failed = failed + :failed, cancelled = cancelled + :cancelled
 WHERE id = :batch;

-- name: batch_done
UPDATE workqueue.batches SET done_at = :now
 WHERE id = :batch AND sealed AND done_at IS NULL AND completed + failed + cancelled = total;

-- name: batch_waiting
-- The newest first: what follows others has not been cancelled with them then.
SELECT coalesce(json_agg(job), '[]')::text FROM (
    SELECT t.job FROM workqueue.terms AS t
     WHERE t.batch = :batch AND t.is_open
       AND (SELECT j.status IN (0, 2) FROM workqueue.jobs AS j WHERE j.id = t.job)
     ORDER BY t.batch DESC, t.is_open DESC, t.job DESC LIMIT :limit) AS waiting;

-- name: cancel_running_of_batch
UPDATE workqueue.jobs SET cancel_requested = true
 WHERE status = 4 AND NOT cancel_requested
   AND id = ANY (ARRAY(SELECT job FROM workqueue.terms WHERE batch = :batch));

-- name: expiring
SELECT coalesce(json_agg(job), '[]')::text FROM (
    SELECT job FROM workqueue.terms
     WHERE queue = :queue AND expires_at <= :now AND is_open AND NOT runs LIMIT :limit) AS late;

-- name: keep_result
INSERT INTO workqueue.results (job, result, until, queue) VALUES (:job, :result, :until, :queue)
    ON CONFLICT (job) DO UPDATE SET result = excluded.result, until = excluded.until, queue = excluded.queue;

-- name: forget_results
DELETE FROM workqueue.results WHERE job IN (SELECT job FROM workqueue.results WHERE until <= :now ORDER BY until LIMIT :limit);

-- name: forget_keys
DELETE FROM workqueue.taken_keys AS t
 USING (SELECT queue, name, key FROM workqueue.taken_keys WHERE until <= :now ORDER BY until LIMIT :limit) AS old
 WHERE t.queue = old.queue AND t.name = old.name AND t.key = old.key AND t.until <= :now;

-- name: restart_windows
-- Of keys that were taken before the clock was set back: for as long as they were to be taken, from now on.
UPDATE workqueue.taken_keys AS t SET until = :now + t.until - t.taken_at, taken_at = :now
  FROM (SELECT queue, name, key FROM workqueue.taken_keys WHERE taken_at > :now ORDER BY taken_at LIMIT :limit) AS ahead
 WHERE t.queue = ahead.queue AND t.name = ahead.name AND t.key = ahead.key AND t.taken_at > :now;

-- name: forget_batches
DELETE FROM workqueue.batches
 WHERE id IN (SELECT id FROM workqueue.batches WHERE done_at <= :before LIMIT :limit) AND done_at <= :before;

-- name: add_figures
-- Rows [span, start, name, completed, failed, retried, cancelled, lost, wait_sum, wait_max, run_sum, run_max,
-- wait_buckets, run_buckets], added to those that are there; in the order that they come in, so that two who add do not
-- wait for each other.
INSERT INTO workqueue.figures AS f (span, start, queue, name, completed, failed, retried, cancelled, lost, wait_sum,
                                    wait_max, run_sum, run_max, wait_buckets, run_buckets, noted_at)
SELECT (r ->> 0)::smallint, (r ->> 1)::bigint, :queue, r ->> 2, (r ->> 3)::bigint, (r ->> 4)::bigint, (r ->> 5)::bigint,
       (r ->> 6)::bigint, (r ->> 7)::bigint, (r ->> 8)::bigint, (r ->> 9)::bigint, (r ->> 10)::bigint,
       (r ->> 11)::bigint, r ->> 12, r ->> 13, :now
  FROM json_array_elements(:rows::json) AS r
    ON CONFLICT (span, start, queue, name) DO UPDATE
   SET completed = f.completed + excluded.completed, failed = f.failed + excluded.failed,
       retried = f.retried + excluded.retried, cancelled = f.cancelled + excluded.cancelled,
       lost = f.lost + excluded.lost, wait_sum = f.wait_sum + excluded.wait_sum,
       wait_max = greatest(f.wait_max, excluded.wait_max), run_sum = f.run_sum + excluded.run_sum,
       run_max = greatest(f.run_max, excluded.run_max),
       wait_buckets = (SELECT coalesce(json_agg(added.total ORDER BY added.place), '[]')::text FROM (
           SELECT each_one.place, sum(each_one.value::bigint) AS total
             FROM (SELECT value, place FROM json_array_elements_text(f.wait_buckets::json) WITH ORDINALITY AS a (value, place)
                   UNION ALL SELECT value, place
                     FROM json_array_elements_text(excluded.wait_buckets::json) WITH ORDINALITY AS b (value, place)) AS each_one
            GROUP BY each_one.place) AS added),
       run_buckets = (SELECT coalesce(json_agg(added.total ORDER BY added.place), '[]')::text FROM (
           SELECT each_one.place, sum(each_one.value::bigint) AS total
             FROM (SELECT value, place FROM json_array_elements_text(f.run_buckets::json) WITH ORDINALITY AS a (value, place)
                   UNION ALL SELECT value, place
                     FROM json_array_elements_text(excluded.run_buckets::json) WITH ORDINALITY AS b (value, place)) AS each_one
            GROUP BY each_one.place) AS added),
       noted_at = excluded.noted_at;

-- name: backlog_noted
-- No job has this name: what stands there was noted.
SELECT EXISTS (SELECT 1 FROM workqueue.figures
                WHERE span = 1 AND start = :start AND queue = :queue AND name = '');

-- name: backlog
-- How many are due and do not run; and since when the one of them that was pushed first.
SELECT waiting, (SELECT j.run_at FROM workqueue.jobs AS j WHERE j.id = oldest) FROM (
    SELECT sum(jobs)::bigint AS waiting, min(first) AS oldest FROM (
        SELECT count(*) AS jobs, min(id) AS first FROM workqueue.jobs WHERE queue = :queue AND ready = 1 AND lost = 0
        UNION ALL SELECT count(*), min(id) FROM workqueue.jobs WHERE queue = :queue AND ready = 1 AND lost > 0
        UNION ALL SELECT count(*), min(id) FROM workqueue.jobs WHERE queue = :queue AND ready = 0 AND run_at <= :now
        UNION ALL SELECT count(*), min(id) FROM workqueue.jobs WHERE queue = :queue AND ready = 2) AS part
    ) AS counted;

-- name: note_backlog
INSERT INTO workqueue.figures (span, start, queue, name, waiting, oldest, noted_at)
VALUES (:span, :start, :queue, :name, :waiting, :oldest, :now)
    ON CONFLICT (span, start, queue, name) DO UPDATE
   SET waiting = excluded.waiting, oldest = excluded.oldest, noted_at = excluded.noted_at;

-- name: figures
SELECT queue, name, start, completed, failed, retried, cancelled, lost, wait_sum, wait_max, run_sum, run_max,
       wait_buckets, run_buckets, waiting, oldest
  FROM workqueue.figures
 WHERE span = :span AND start >= :since AND start < :until AND (:queue::text IS NULL OR queue = :queue)
 ORDER BY start, queue, name;

-- name: totals
SELECT queue, name, start, completed, failed, retried, cancelled, lost, wait_sum, wait_max, run_sum, run_max,
       wait_buckets, run_buckets, waiting, oldest
  FROM workqueue.figures
 WHERE span = 0 AND (:queue::text IS NULL OR queue = :queue)
 ORDER BY queue, name;

-- name: forget_figures
-- Those before an instant, and no more at once than of so long a time after the first.
DELETE FROM workqueue.figures
 WHERE span = :span AND start < least(:before, :step + (SELECT min(start) FROM workqueue.figures WHERE span = :span));

-- name: forget_totals
DELETE FROM workqueue.figures WHERE span = 0 AND noted_at < :before;

-- name: check_figures
SELECT (SELECT count(*) FROM workqueue.figures
         WHERE least(completed, failed, retried, cancelled, lost, wait_sum, wait_max, run_sum, run_max) < 0
            OR (SELECT coalesce(sum(value::bigint), 0) FROM json_array_elements_text(wait_buckets::json) AS w (value))
            <> (SELECT coalesce(sum(value::bigint), 0) FROM json_array_elements_text(run_buckets::json) AS r (value))),
       (SELECT count(*) FROM workqueue.figures AS t
         WHERE span = 0 AND completed + failed + retried + cancelled + lost < (
               SELECT sum(h.completed + h.failed + h.retried + h.cancelled + h.lost) FROM workqueue.figures AS h
                WHERE h.span = 60 AND h.queue = t.queue AND h.name = t.name));

-- name: forget_progress
DELETE FROM workqueue.progress WHERE job IN (
    SELECT p.job FROM workqueue.progress AS p
     WHERE NOT EXISTS (SELECT 1 FROM workqueue.jobs AS j WHERE j.id = p.job OFFSET 0) LIMIT :limit);

-- name: note_progress
INSERT INTO workqueue.progress (job, data)
SELECT id, :data FROM workqueue.jobs WHERE id = :job AND runner = :runner
    ON CONFLICT (job) DO UPDATE SET data = excluded.data;

-- name: outlook_jobs
SELECT coalesce(json_agg(json_build_array(id, status, message)), '[]')::text FROM (
    SELECT id, status, message FROM workqueue.jobs
     WHERE id = ANY (ARRAY(SELECT i.id::bigint FROM json_array_elements_text(:ids::json) AS i (id)))
    UNION ALL
    SELECT id, 1, '' FROM workqueue.completed
     WHERE id = ANY (ARRAY(SELECT i.id::bigint FROM json_array_elements_text(:ids::json) AS i (id)))) AS known;

-- name: outlook_results
SELECT job, result FROM workqueue.results
 WHERE job = ANY (ARRAY(SELECT i.id::bigint FROM json_array_elements_text(:ids::json) AS i (id)));

-- name: outlook_progress
SELECT job, data FROM workqueue.progress
 WHERE job = ANY (ARRAY(SELECT i.id::bigint FROM json_array_elements_text(:ids::json) AS i (id)));

-- name: last_id
SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM workqueue.jobs_id_seq;

-- name: pause
INSERT INTO workqueue.pauses (queue, name) VALUES (:queue, :name) ON CONFLICT DO NOTHING;

-- name: resume
DELETE FROM workqueue.pauses WHERE queue = :queue AND name = :name;

-- name: pauses
SELECT coalesce(json_agg(name ORDER BY name), '[]')::text FROM workqueue.pauses WHERE queue = :queue;

-- name: status_of
SELECT status FROM workqueue.jobs WHERE id = :job;

-- name: wants_sweeping
SELECT EXISTS (SELECT 1 FROM workqueue.terms
                WHERE queue = :queue AND expires_at <= :now AND is_open AND NOT runs)
    OR EXISTS (SELECT 1 FROM workqueue.results WHERE until <= :now)
    OR EXISTS (SELECT 1 FROM workqueue.taken_keys WHERE until <= :now)
    OR EXISTS (SELECT 1 FROM workqueue.taken_keys WHERE taken_at > :now)
    OR EXISTS (SELECT 1 FROM workqueue.closed_lanes WHERE closed_at > :now)
    OR EXISTS (SELECT 1 FROM workqueue.batches WHERE done_at <= :before)
    OR EXISTS (SELECT 1 FROM workqueue.figures WHERE span = 1 AND start < :minutes_before)
    OR EXISTS (SELECT 1 FROM workqueue.figures WHERE span = 60 AND start < :hours_before)
    OR EXISTS (SELECT 1 FROM workqueue.figures WHERE span = 0 AND noted_at < :hours_before)
    OR EXISTS (SELECT 1 FROM workqueue.progress AS p
                WHERE NOT EXISTS (SELECT 1 FROM workqueue.jobs AS j WHERE j.id = p.job OFFSET 0))
    OR EXISTS (SELECT 1 FROM workqueue.terms AS t WHERE t.queue = :queue AND t.kept_by = 4
                  AND NOT EXISTS (SELECT 1 FROM workqueue.pauses AS p WHERE p.queue = t.queue AND p.name = t.name));

-- name: situation
SELECT ready, runner, lease_until, (SELECT r.lease FROM workqueue.runners AS r WHERE r.id = j.runner)
  FROM workqueue.jobs AS j WHERE j.id = :job;

-- name: limit_holders
-- The first jobs of a lane that run. They are few; by the order of the primary key it would look at all there are.
SELECT coalesce(json_agg(job), '[]')::text FROM (
    SELECT job FROM (
        SELECT job FROM workqueue.terms
         WHERE queue = :queue AND limit_lane = :lane AND runs OFFSET 0) AS running
     ORDER BY job LIMIT :limit) AS first;

-- name: ahead
-- The first of those for which `is_behind` says yes.
SELECT job, (SELECT j.status FROM workqueue.jobs AS j WHERE j.id = found.job) FROM (
    (SELECT t.job FROM workqueue.terms AS t
      WHERE t.queue = :queue AND t.order_lane = :lane AND t.is_open AND t.job < :job
        AND (SELECT j.status IN (2, 4) OR j.ready IN (1, 2) FROM workqueue.jobs AS j WHERE j.id = t.job)
      ORDER BY t.job LIMIT 1)
    UNION ALL
    (SELECT job FROM workqueue.terms
      WHERE queue = :queue AND order_lane = :lane AND job > :job AND runs
      ORDER BY job LIMIT 1)) AS found
 ORDER BY job LIMIT 1;

-- name: front
-- Who is claimed next, best first: ids.
SELECT coalesce(json_agg(id), '[]')::text FROM (
    SELECT id FROM workqueue.jobs WHERE queue = :queue AND ready = 1 AND lost = 0
     ORDER BY -priority, position, id LIMIT :limit) AS line;

-- name: begin_push
SAVEPOINT workqueue_push;

-- name: undo_push
ROLLBACK TO SAVEPOINT workqueue_push;

-- name: end_push
RELEASE SAVEPOINT workqueue_push;

-- name: notify
SELECT pg_notify(:channel, :queue);

-- name: listen
LISTEN workqueue;

-- name: backend
SELECT pg_backend_pid();

-- name: setting
SELECT current_setting(:name);

-- name: has_place
-- Looked for in the catalogs: to_regnamespace and to_regclass ask the session's cache, which may be older than the lock.
SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = :schema);

-- name: make_place
CREATE SCHEMA workqueue;

-- name: schema_version
SELECT version FROM workqueue.meta;

-- name: has_schema
SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
                WHERE n.nspname = :schema AND c.relname = 'meta');

-- name: lock_schema
SELECT pg_advisory_xact_lock(:space::int, 1);

-- name: add_meta
INSERT INTO workqueue.meta (store_id, version, made_by, made_at)
VALUES (gen_random_uuid()::text, :version, :made_by, (extract(epoch FROM now()) * 1000000)::bigint);

-- name: oldest
SELECT oldest FROM workqueue.meta;

-- name: be_brief
SET LOCAL lock_timeout = '2s';

-- name: grants
-- Statements that give a role all rights but those to change the tables. The names in them are quoted here.
SELECT format('GRANT USAGE ON SCHEMA %I TO %I', :schema::text, :role::text)
UNION ALL SELECT format('GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA %I TO %I', :schema::text, :role::text)
UNION ALL SELECT format('GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA %I TO %I', :schema::text, :role::text)
UNION ALL SELECT format('ALTER DEFAULT PRIVILEGES IN SCHEMA %I GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO %I',
                        :schema::text, :role::text)
UNION ALL SELECT format('ALTER DEFAULT PRIVILEGES IN SCHEMA %I GRANT USAGE, SELECT ON SEQUENCES TO %I',
                        :schema::text, :role::text);

-- name: removal
SELECT format('DROP SCHEMA IF EXISTS %I CASCADE', :schema::text);

-- name: set_version
UPDATE workqueue.meta SET version = :version;

-- name: move
INSERT INTO workqueue.moves (move, target, begun_at) VALUES (:move, :target, :now);

-- name: moved
UPDATE workqueue.moves SET done_at = :now WHERE done_at IS NULL;

-- name: forget_moves
DELETE FROM workqueue.moves;

-- name: moves
SELECT move, target, done_at FROM workqueue.moves;

-- name: copies
SELECT source_id, source, move, step, after, last_job, last_batch, done_at FROM workqueue.copies ORDER BY begun_at;

-- name: begin_copy
INSERT INTO workqueue.copies (source_id, source, move, step, after, last_job, last_batch, begun_at)
VALUES (:source_id, :source, :move, :step, :after, :last_job, :last_batch, :now);

-- name: drop_copy
-- With what it brought, when it cannot be gone on with: the drop_* do that.
DELETE FROM workqueue.copies WHERE source_id = :source_id AND done_at IS NULL;

-- name: copy_on
-- Nothing when another process is at the same copy.
UPDATE workqueue.copies SET step = :step, after = :after
 WHERE source_id = :source_id AND step = :was_step AND after = :was_after AND done_at IS NULL;

-- name: copied
UPDATE workqueue.copies SET done_at = :now WHERE source_id = :source_id AND done_at IS NULL;

-- name: store_id
SELECT store_id FROM workqueue.meta;

-- name: is_empty
SELECT NOT EXISTS (SELECT 1 FROM workqueue.jobs) AND NOT EXISTS (SELECT 1 FROM workqueue.batches)
   AND NOT EXISTS (SELECT 1 FROM workqueue.results)
   AND NOT EXISTS (SELECT 1 FROM workqueue.pauses) AND NOT EXISTS (SELECT 1 FROM workqueue.schedules)
   AND NOT EXISTS (SELECT 1 FROM workqueue.taken_keys) AND NOT EXISTS (SELECT 1 FROM workqueue.starts)
   AND NOT EXISTS (SELECT 1 FROM workqueue.closed_lanes) AND NOT EXISTS (SELECT 1 FROM workqueue.completed);

-- name: shut_jobs
-- A store whose jobs go elsewhere takes no new ones and runs none. A trigger costs nothing where there is none.
CREATE OR REPLACE TRIGGER moved_jobs BEFORE INSERT ON workqueue.jobs
    FOR EACH STATEMENT EXECUTE FUNCTION workqueue.refuse_moved();

-- name: shut_claims
CREATE OR REPLACE TRIGGER moved_claims BEFORE UPDATE ON workqueue.jobs
    FOR EACH STATEMENT EXECUTE FUNCTION workqueue.refuse_moved();

-- name: shut_cleaning
CREATE OR REPLACE TRIGGER moved_cleaning BEFORE DELETE ON workqueue.jobs
    FOR EACH STATEMENT EXECUTE FUNCTION workqueue.refuse_moved();

-- name: shut_completed
CREATE OR REPLACE TRIGGER moved_completed BEFORE DELETE ON workqueue.completed
    FOR EACH STATEMENT EXECUTE FUNCTION workqueue.refuse_moved();

-- name: shut_runners
CREATE OR REPLACE TRIGGER moved_runners BEFORE INSERT ON workqueue.runners
    FOR EACH STATEMENT EXECUTE FUNCTION workqueue.refuse_moved();

-- name: shut_batches
CREATE OR REPLACE TRIGGER moved_batches BEFORE INSERT ON workqueue.batches
    FOR EACH STATEMENT EXECUTE FUNCTION workqueue.refuse_moved();

-- name: shut_schedules
CREATE OR REPLACE TRIGGER moved_schedules BEFORE INSERT ON workqueue.schedules
    FOR EACH STATEMENT EXECUTE FUNCTION workqueue.refuse_moved();

-- name: open_jobs
DROP TRIGGER IF EXISTS moved_jobs ON workqueue.jobs;

-- name: open_claims
DROP TRIGGER IF EXISTS moved_claims ON workqueue.jobs;

-- name: open_cleaning
DROP TRIGGER IF EXISTS moved_cleaning ON workqueue.jobs;

-- name: open_completed
DROP TRIGGER IF EXISTS moved_completed ON workqueue.completed;

-- name: open_runners
DROP TRIGGER IF EXISTS moved_runners ON workqueue.runners;

-- name: open_batches
DROP TRIGGER IF EXISTS moved_batches ON workqueue.batches;

-- name: open_schedules
DROP TRIGGER IF EXISTS moved_schedules ON workqueue.schedules;

-- name: begin_look
-- What is read until the end of it is all of one moment.
BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY;

-- name: end_look
ROLLBACK;

-- name: last_ids
SELECT (SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM workqueue.jobs_id_seq),
       (SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM workqueue.batches_id_seq);

-- name: raise_job_ids
-- Ids that the other store gave out are not given out again.
SELECT setval('workqueue.jobs_id_seq', :last::bigint) FROM workqueue.jobs_id_seq
 WHERE :last::bigint > 0 AND (NOT is_called OR last_value < :last::bigint);

-- name: raise_batch_ids
SELECT setval('workqueue.batches_id_seq', :last::bigint) FROM workqueue.batches_id_seq
 WHERE :last::bigint > 0 AND (NOT is_called OR last_value < :last::bigint);

-- name: export_backoffs
SELECT id, rule FROM workqueue.backoffs;

-- name: export_jobs
-- Whole rows, page by page, in the order of their key; the columns are those of `relational.rows`, in its order. A job
-- that runs is in the hands of nobody (0) in another store.
SELECT j.id, j.queue, j.name, j.status, j.ready, j.special::int, j.priority, j.position, j.run_at, j.pushed_at, j.backoff,
       j.attempt, j.retry_count, j.lost, j.cancel_requested::int, CASE WHEN j.runner IS NOT NULL THEN 0 END, j.lease_until,
       j.settled_at, j.message, j.headers, j.data
  FROM workqueue.jobs AS j
 WHERE j.id > :id AND j.id <= :last ORDER BY j.id LIMIT :limit;

-- name: export_completed
SELECT id, queue, name, priority, run_at, pushed_at, claimed_at, settled_at, attempt, retry_count, backoff, lost, runner,
       spec, headers, data
  FROM workqueue.completed WHERE id > :id AND id <= :last ORDER BY id LIMIT :limit;

-- name: export_terms
SELECT job, queue, name, spec, is_open::int, runs::int, kept_by, priority, position, key, expires_at, limit_lane, rate_lane,
       order_lane, batch, follows, follows_batch
  FROM workqueue.terms WHERE job > :job AND job <= :last ORDER BY job LIMIT :limit;

-- name: export_attempts
SELECT job, attempt, runner, started_at, duration, outcome, error, traceback
  FROM workqueue.attempts WHERE (job, attempt) > (:job, :attempt) AND job <= :last ORDER BY job, attempt LIMIT :limit;

-- name: export_results
SELECT job, until, queue, result FROM workqueue.results WHERE job > :job AND job <= :last ORDER BY job LIMIT :limit;

-- name: export_progress
SELECT job, data FROM workqueue.progress WHERE job > :job AND job <= :last ORDER BY job LIMIT :limit;

-- name: export_batches
SELECT id, queue, sealed::int, total, completed, failed, cancelled, done_at
  FROM workqueue.batches WHERE id > :id AND id <= :last ORDER BY id LIMIT :limit;

-- name: export_pauses
SELECT queue, name FROM workqueue.pauses WHERE (queue, name) > (:queue, :name) ORDER BY queue, name LIMIT :limit;

-- name: export_schedules
SELECT queue, name, spec, next_at, last_at, last_job, paused::int
  FROM workqueue.schedules WHERE (queue, name) > (:queue, :name) ORDER BY queue, name LIMIT :limit;

-- name: export_taken_keys
SELECT queue, name, key, job, until
  FROM workqueue.taken_keys WHERE (queue, name, key) > (:queue, :name, :key) ORDER BY queue, name, key LIMIT :limit;

-- name: export_starts
SELECT queue, lane, at, count(*)
  FROM workqueue.starts WHERE (queue, lane, at) > (:queue, :lane, :at)
 GROUP BY queue, lane, at ORDER BY queue, lane, at LIMIT :limit;

-- name: export_closed_lanes
SELECT queue, lane, most, opens_at
  FROM workqueue.closed_lanes WHERE (queue, lane) > (:queue, :lane) ORDER BY queue, lane LIMIT :limit;

-- name: export_figures
SELECT span, start, queue, name, completed, failed, retried, cancelled, lost, wait_sum, wait_max, run_sum, run_max,
       wait_buckets, run_buckets, waiting, oldest, noted_at
  FROM workqueue.figures WHERE (span, start, queue, name) > (:span, :start, :queue, :name)
 ORDER BY span, start, queue, name LIMIT :limit;

-- name: import_jobs
COPY workqueue.jobs (id, queue, name, status, ready, special, priority, position, run_at, pushed_at, backoff, attempt,
                  retry_count, lost, cancel_requested, runner, lease_until, settled_at, message, headers, data) FROM STDIN;

-- name: import_completed
COPY workqueue.completed (id, queue, name, priority, run_at, pushed_at, claimed_at, settled_at, attempt, retry_count,
                          backoff, lost, runner, spec, headers, data) FROM STDIN;

-- name: import_terms
COPY workqueue.terms (job, queue, name, spec, is_open, runs, kept_by, priority, position, key, expires_at, limit_lane,
                   rate_lane, order_lane, batch, follows, follows_batch) FROM STDIN;

-- name: import_attempts
COPY workqueue.attempts (job, attempt, runner, started_at, duration, outcome, error, traceback) FROM STDIN;

-- name: import_results
COPY workqueue.results (job, until, queue, result) FROM STDIN;

-- name: import_progress
COPY workqueue.progress (job, data) FROM STDIN;

-- name: import_batches
COPY workqueue.batches (id, queue, sealed, total, completed, failed, cancelled, done_at) FROM STDIN;

-- name: import_pauses
COPY workqueue.pauses (queue, name) FROM STDIN;

-- name: import_schedules
COPY workqueue.schedules (queue, name, spec, next_at, last_at, last_job, paused) FROM STDIN;

-- name: import_taken_keys
COPY workqueue.taken_keys (queue, name, key, job, until) FROM STDIN;

-- name: import_starts
COPY workqueue.starts (queue, lane, at) FROM STDIN;

-- name: import_closed_lanes
COPY workqueue.closed_lanes (queue, lane, most, opens_at) FROM STDIN;

-- name: import_figures
COPY workqueue.figures (span, start, queue, name, completed, failed, retried, cancelled, lost, wait_sum, wait_max,
                        run_sum, run_max, wait_buckets, run_buckets, waiting, oldest, noted_at) FROM STDIN;

-- name: count_jobs
SELECT count(*) FROM workqueue.jobs WHERE id > :id AND id <= :last;

-- name: drop_jobs
-- The triggers take attempts along.
DELETE FROM workqueue.jobs WHERE id <= :last_job;

-- name: drop_completed
DELETE FROM workqueue.completed WHERE id <= :last_job;

-- name: drop_attempts
DELETE FROM workqueue.attempts WHERE job <= :last_job;

-- name: drop_all_terms
DELETE FROM workqueue.terms WHERE job <= :last_job;

-- name: drop_results
DELETE FROM workqueue.results WHERE job <= :last_job;

-- name: drop_progress
DELETE FROM workqueue.progress WHERE job <= :last_job;

-- name: drop_batches
DELETE FROM workqueue.batches WHERE id <= :last_batch;

-- name: drop_pauses
DELETE FROM workqueue.pauses;

-- name: drop_schedules
DELETE FROM workqueue.schedules;

-- name: drop_taken_keys
DELETE FROM workqueue.taken_keys;

-- name: drop_starts
DELETE FROM workqueue.starts;

-- name: drop_closed_lanes
DELETE FROM workqueue.closed_lanes;

-- name: drop_figures
DELETE FROM workqueue.figures;
