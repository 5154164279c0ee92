-- Every statement of the SQLite engine. A step is one statement: arrays go in as JSON, and come out as one row
-- (json_group_array; the payloads joined into one blob), because beside a busy thread each row fetched costs a trip
-- through the interpreter lock. Statuses: 0 pending, 2 retrying, 3 failed, 4 running, 5 cancelled.

-- name: push
-- Rows [offset, length] cut the payloads out of :blob. Ids are consecutive: one writer, one statement.
INSERT INTO jobs (queue, name, priority, position, run_at, pushed_at, ready, special, backoff, headers, data)
SELECT :queue, :name, :priority, :position, :run_at, :now, :ready, :special, :backoff, :headers,
       CASE WHEN json_extract(value, '$[1]') <= :inline
            THEN substr(:blob, json_extract(value, '$[0]'), json_extract(value, '$[1]')) END
  FROM json_each(:rows);

-- name: push_one
INSERT INTO jobs (queue, name, priority, position, run_at, pushed_at, ready, special, backoff, headers, data)
VALUES (:queue, :name, :priority, :position, :run_at, :now, :ready, :special, :backoff, :headers, :data);

-- name: push_one_large
INSERT INTO payloads (job, data) VALUES (:job, :data);

-- name: push_large
INSERT INTO payloads (job, data)
SELECT :first + key, substr(:blob, json_extract(value, '$[0]'), json_extract(value, '$[1]'))
  FROM json_each(:rows) WHERE json_extract(value, '$[1]') > :inline;

-- name: pushed
-- After a commit whose fate is unknown: are they there? Else, were their ids given out (so they came and went)?
SELECT EXISTS (SELECT 1 FROM jobs WHERE id = :last AND queue = :queue AND pushed_at = :at),
       EXISTS (SELECT 1 FROM jobs WHERE id = :last),
       (SELECT seq FROM sqlite_sequence WHERE name = 'jobs') >= :last;

-- name: free_pages
PRAGMA freelist_count;

-- name: data_version
-- Another number, on the same connection, whenever another one has committed in between.
PRAGMA data_version;

-- name: take_lock
-- Writes nothing, but no other connection can write from now on.
UPDATE meta SET made_at = made_at WHERE 0;

-- name: hidden_by_temporary
-- Which of our tables: a name alone means a temporary one first.
SELECT name FROM temp.sqlite_master WHERE lower(name) IN (SELECT value FROM json_each(:names)) ORDER BY name;

-- name: add_backoff
INSERT OR IGNORE INTO backoffs (rule) VALUES (:rule);

-- name: backoff_id
SELECT +id FROM backoffs WHERE rule = :rule;

-- name: backoff_rules
SELECT json_group_array(json_array(id, json(rule))) FROM backoffs;

-- name: promote
UPDATE jobs SET ready = 1
 WHERE id IN (SELECT id FROM jobs WHERE queue = :queue AND ready = 0 AND run_at <= :now ORDER BY run_at LIMIT :limit);

-- name: let_into_orders
-- From now on others of their order look at them.
UPDATE terms SET later_until = NULL WHERE queue = :queue AND later_until <= :now;

-- name: claim
-- Served by jobs_ready, in its order. With it comes what stands beside: suspects, the next
-- for later, the next lane to open, and what is paused.
SELECT json_group_array(json_array(id, name, attempt + 1, retry_count, lost, priority, run_at, pushed_at, backoff, size, special)),
       CAST(group_concat(data, '') AS BLOB),
       EXISTS (SELECT 1 FROM jobs WHERE queue = :queue AND ready = 1 AND lost > 0),
       (SELECT min(run_at) FROM jobs WHERE queue = :queue AND ready = 0),
       (SELECT min(opens_at) FROM closed_lanes WHERE queue = :queue),
       (SELECT json_group_array(name) FROM pauses WHERE queue = :queue),
       json_group_array(json_array(id, headers)) FILTER (WHERE headers IS NOT NULL)
  FROM (SELECT id, name, attempt, retry_count, lost, priority, run_at, pushed_at, backoff, data, length(data) AS size,
               special, headers
          FROM jobs WHERE queue = :queue AND ready = 1 AND lost = 0
         ORDER BY priority DESC, position, id LIMIT :limit);

-- name: claim_alone
-- The same, served by jobs_suspect.
SELECT json_group_array(json_array(id, name, attempt + 1, retry_count, lost, priority, run_at, pushed_at, backoff, size, special)),
       CAST(group_concat(data, '') AS BLOB),
       EXISTS (SELECT 1 FROM jobs WHERE queue = :queue AND ready = 1 AND lost > 0),
       (SELECT min(run_at) FROM jobs WHERE queue = :queue AND ready = 0),
       (SELECT min(opens_at) FROM closed_lanes WHERE queue = :queue),
       (SELECT json_group_array(name) FROM pauses WHERE queue = :queue),
       json_group_array(json_array(id, headers)) FILTER (WHERE headers IS NOT NULL)
  FROM (SELECT id, name, attempt, retry_count, lost, priority, run_at, pushed_at, backoff, data, length(data) AS size,
               special, headers
          FROM jobs WHERE queue = :queue AND ready = 1 AND lost > 0
         ORDER BY priority DESC, position, id LIMIT :limit);

-- name: large_sizes
-- The lengths inside: SQLite would sort the data themselves, in a file if they are large.
SELECT json_group_array(size) FROM (
    SELECT length(p.data) AS size FROM json_each(:ids) AS c JOIN payloads AS p ON p.job = c.value ORDER BY c.key);

-- name: large
SELECT data FROM payloads WHERE job = :id;

-- name: claimed
UPDATE jobs SET status = 4, ready = NULL, attempt = attempt + 1, runner = :runner, lease_until = :lease_until
 WHERE id IN (SELECT value FROM json_each(:ids));

-- name: horizon
SELECT EXISTS (SELECT 1 FROM jobs WHERE queue = :queue AND ready = 1 AND lost = 0),
       EXISTS (SELECT 1 FROM jobs WHERE queue = :queue AND ready = 1 AND lost > 0),
       (SELECT min(run_at) FROM jobs WHERE queue = :queue AND ready = 0),
       (SELECT min(opens_at) FROM closed_lanes WHERE queue = :queue),
       EXISTS (SELECT 1 FROM pauses WHERE queue = :queue AND name = '');

-- name: complete
-- Those that run as :attempt. The fence: a job that moved on to another attempt is left alone. One statement for each
-- attempt number (nearly always the first) costs less than half of one over pairs [id, attempt]. +status, here and in
-- settle: by the ids, also where ANALYZE once met few jobs running.
DELETE FROM jobs WHERE id IN (SELECT value FROM json_each(:ids)) AND +status = 4 AND attempt = :attempt;

-- name: keep_completed
-- Rows [id, claimed_at], of those that run as :attempt; before `complete` takes them from where they were.
INSERT INTO completed (id, queue, name, priority, run_at, pushed_at, claimed_at, settled_at, backoff, attempt,
                       retry_count, lost, runner, spec, batch, headers, data)
SELECT j.id, j.queue, j.name, j.priority, j.run_at, j.pushed_at, s.claimed_at, :now, j.backoff, j.attempt,
       j.retry_count, j.lost, coalesce((SELECT label FROM runners WHERE id = j.runner), ''),
       CASE WHEN j.special THEN (SELECT spec FROM terms WHERE job = j.id) END,
       CASE WHEN j.special THEN (SELECT batch FROM terms WHERE job = j.id) END, j.headers, j.data
  FROM (SELECT json_extract(value, '$[0]') AS id, json_extract(value, '$[1]') AS claimed_at FROM json_each(:rows)) AS s
       JOIN jobs AS j ON j.id = s.id
 WHERE +j.status = 4 AND j.attempt = :attempt;

-- name: settle
-- Rows [id, attempt, lease or null, status, run_at or null, failures, losses, message]. A verdict by a rescuer names the
-- lease it saw; a null run_at leaves the old one (handed back: it was due before).
UPDATE jobs
   SET status = CASE WHEN s.status IN (0, 2) AND cancel_requested THEN 5 ELSE s.status END,
       ready = CASE WHEN s.status IN (0, 2) AND NOT cancel_requested THEN coalesce(s.run_at <= :now, 1) END,
       settled_at = CASE WHEN s.status NOT IN (0, 2) OR cancel_requested THEN :now END,
       run_at = coalesce(s.run_at, jobs.run_at),
       position = CASE WHEN position <> 0 THEN coalesce(s.run_at, position) ELSE 0 END,
       retry_count = retry_count + s.failures,
       lost = lost + s.losses,
       message = CASE WHEN s.message <> '' THEN s.message ELSE jobs.message END,
       cancel_requested = 0, runner = NULL, lease_until = NULL, claimed_at = NULL
  FROM (SELECT json_extract(value, '$[0]') AS id, json_extract(value, '$[1]') AS attempt,
               json_extract(value, '$[2]') AS lease, json_extract(value, '$[3]') AS status,
               json_extract(value, '$[4]') AS run_at, json_extract(value, '$[5]') AS failures,
               json_extract(value, '$[6]') AS losses, json_extract(value, '$[7]') AS message
          FROM json_each(:rows)) AS s
 WHERE jobs.id = s.id AND +jobs.status = 4 AND jobs.attempt = s.attempt
   AND (s.lease IS NULL OR jobs.lease_until = s.lease);

-- name: drop_failed
DELETE FROM jobs WHERE status = 3 AND id IN (SELECT value FROM json_each(:ids));

-- name: add_history
INSERT INTO attempts (job, attempt, runner, started_at, duration, outcome, error, traceback)
SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'),
       coalesce((SELECT label FROM runners WHERE id = json_extract(value, '$[2]')), ''),
       json_extract(value, '$[3]'), json_extract(value, '$[4]'), json_extract(value, '$[5]'),
       json_extract(value, '$[6]'), json_extract(value, '$[7]')
  FROM json_each(:rows);

-- name: cap_history
DELETE FROM attempts WHERE job = :job AND attempt NOT IN (
    SELECT attempt FROM attempts WHERE job = :job ORDER BY attempt DESC LIMIT :keep);

-- name: holds
SELECT EXISTS (SELECT 1 FROM jobs WHERE id = :id AND attempt = :attempt AND runner = :runner);

-- name: cancellable
-- Whether a job can be cancelled. A running one can be asked twice, which changes nothing.
SELECT EXISTS (SELECT 1 FROM jobs WHERE id = :id AND status IN (0, 2, 4));

-- name: known
-- Whether the job is here, whatever became of it.
SELECT EXISTS (SELECT 1 FROM jobs WHERE id = :id) OR EXISTS (SELECT 1 FROM completed WHERE id = :id);

-- name: settled
SELECT EXISTS (SELECT 1 FROM jobs WHERE id = :id AND settled_at IS NOT NULL);

-- name: enlist
INSERT INTO runners (queue, label, started_at) VALUES (:queue, :label, :now);

-- name: introduce
UPDATE runners SET lease = :lease, knows = :knows WHERE id = :runner;

-- name: retire
DELETE FROM runners WHERE id = :id AND NOT EXISTS (SELECT 1 FROM jobs WHERE status = 4 AND runner = :id);

-- name: runners
SELECT json_group_array(id) FROM runners;

-- name: listeners
SELECT id FROM runners WHERE queue = :queue;

-- name: beat
-- The first one after a claim keeps when that was, before it changes the lease that tells.
UPDATE jobs SET claimed_at = coalesce(claimed_at, lease_until - :lease), lease_until = :now + :lease
 WHERE status = 4 AND runner = :runner;

-- name: held
SELECT json_group_array(json_array(id, attempt, cancel_requested)) FROM jobs WHERE status = 4 AND runner = :runner;

-- name: holders
SELECT json_group_array(runner) FROM (SELECT DISTINCT runner FROM jobs WHERE status = 4);

-- name: orphans
-- By the index of what runs: SQLite would walk through all that waits to find it in the order of ids.
SELECT id, runner, lease_until FROM jobs INDEXED BY jobs_running
 WHERE status = 4 AND (runner IN (SELECT value FROM json_each(:dead)) OR lease_until < :expired_before)
 ORDER BY id LIMIT :limit;

-- name: get
SELECT j.id, j.queue, j.name, j.status, j.priority, j.run_at, j.pushed_at, j.settled_at, j.attempt, j.retry_count,
       j.lost, j.cancel_requested, j.message, coalesce(j.data, p.data), b.rule, t.spec,
       coalesce(j.claimed_at, j.lease_until - (SELECT lease FROM runners WHERE id = j.runner)),
       coalesce((SELECT label FROM runners WHERE id = j.runner), ''), j.headers
  FROM jobs AS j LEFT JOIN payloads AS p ON p.job = j.id JOIN backoffs AS b ON b.id = j.backoff
       LEFT JOIN terms AS t ON t.job = j.id
 WHERE j.id = :id
UNION ALL
SELECT c.id, c.queue, c.name, 1, c.priority, c.run_at, c.pushed_at, c.settled_at, c.attempt, c.retry_count,
       c.lost, 0, '', coalesce(c.data, p.data), b.rule, c.spec, c.claimed_at, c.runner, c.headers
  FROM completed AS c LEFT JOIN payloads AS p ON p.job = c.id JOIN backoffs AS b ON b.id = c.backoff
 WHERE c.id = :id;

-- name: jobs_of
SELECT j.id, j.queue, j.name, j.status, j.priority, j.run_at, j.pushed_at, j.settled_at, j.attempt, j.retry_count,
       j.lost, j.cancel_requested, j.message, coalesce(j.data, p.data), b.rule, t.spec,
       coalesce(j.claimed_at, j.lease_until - (SELECT lease FROM runners WHERE id = j.runner)),
       coalesce((SELECT label FROM runners WHERE id = j.runner), ''), j.headers
  FROM jobs AS j LEFT JOIN payloads AS p ON p.job = j.id JOIN backoffs AS b ON b.id = j.backoff
       LEFT JOIN terms AS t ON t.job = j.id
 WHERE j.id IN (SELECT value FROM json_each(:ids))
UNION ALL
SELECT c.id, c.queue, c.name, 1, c.priority, c.run_at, c.pushed_at, c.settled_at, c.attempt, c.retry_count,
       c.lost, 0, '', coalesce(c.data, p.data), b.rule, c.spec, c.claimed_at, c.runner, c.headers
  FROM completed AS c LEFT JOIN payloads AS p ON p.job = c.id JOIN backoffs AS b ON b.id = c.backoff
 WHERE c.id IN (SELECT value FROM json_each(:ids));

-- name: walk
-- The next jobs by id, upwards or down: of two halves one is empty.
SELECT json_group_array(id) FROM (
    SELECT id FROM (SELECT id FROM jobs WHERE :up AND id > :after AND id < :before ORDER BY id LIMIT :most)
    UNION ALL SELECT id FROM (
        SELECT id FROM jobs WHERE NOT :up AND id > :after AND id < :before ORDER BY id DESC LIMIT :most));

-- name: walk_completed
SELECT json_group_array(id) FROM (
    SELECT id FROM (SELECT id FROM completed WHERE :up AND id > :after AND id < :before ORDER BY id LIMIT :most)
    UNION ALL SELECT id FROM (
        SELECT id FROM completed WHERE NOT :up AND id > :after AND id < :before ORDER BY id DESC LIMIT :most));

-- name: completed_ids
SELECT json_group_array(id) FROM (
    SELECT id FROM (
        SELECT id FROM completed WHERE :up AND queue = :queue AND id > :after AND id < :before
         ORDER BY id LIMIT :most)
    UNION ALL SELECT id FROM (
        SELECT id FROM completed WHERE NOT :up AND queue = :queue AND id > :after AND id < :before
         ORDER BY id DESC LIMIT :most));

-- name: batch_ids
-- Of a batch: those that wait or run, where :open; else those that failed or were cancelled.
SELECT json_group_array(id) FROM (
    SELECT id FROM (
        SELECT job AS id FROM terms
         WHERE :up AND batch = :batch AND is_open = :open AND job > :after AND job < :before
         ORDER BY job LIMIT :most)
    UNION ALL SELECT id FROM (
        SELECT job AS id FROM terms
         WHERE NOT :up AND batch = :batch AND is_open = :open AND job > :after AND job < :before
         ORDER BY job DESC LIMIT :most));

-- name: batch_completed_ids
SELECT json_group_array(id) FROM (
    SELECT id FROM (
        SELECT id FROM completed
         WHERE :up AND batch = :batch AND id > :after AND id < :before
         ORDER BY id LIMIT :most)
    UNION ALL SELECT id FROM (
        SELECT id FROM completed
         WHERE NOT :up AND batch = :batch AND id > :after AND id < :before
         ORDER BY id DESC LIMIT :most));

-- name: settled_ids
SELECT json_group_array(id) FROM (
    SELECT id FROM (
        SELECT id FROM jobs
         WHERE :up AND queue = :queue AND status = :status AND settled_at IS NOT NULL AND id > :after AND id < :before
         ORDER BY id LIMIT :most)
    UNION ALL SELECT id FROM (
        SELECT id FROM jobs
         WHERE NOT :up AND queue = :queue AND status = :status AND settled_at IS NOT NULL
           AND id > :after AND id < :before
         ORDER BY id DESC LIMIT :most));

-- name: settled_queues
-- From one queue to the next, for each may have very many.
WITH RECURSIVE q(name) AS (
    SELECT min(queue) FROM jobs WHERE settled_at IS NOT NULL
    UNION ALL SELECT (SELECT min(queue) FROM jobs WHERE settled_at IS NOT NULL AND queue > q.name)
                FROM q WHERE q.name IS NOT NULL
     LIMIT :most)
SELECT json_group_array(name) FROM q WHERE name IS NOT NULL;

-- name: running_ids
SELECT json_group_array(id) FROM jobs INDEXED BY jobs_running WHERE status = 4;

-- name: open_ids
-- Of a queue, in no order: those that run and those that wait, at most so many. In one statement, for they change places.
SELECT json_group_array(id) FROM (SELECT id FROM (
    SELECT id FROM jobs WHERE queue = :queue AND status = 4
    UNION ALL SELECT id FROM jobs WHERE queue = :queue AND ready = 1 AND lost = 0
    UNION ALL SELECT id FROM jobs WHERE queue = :queue AND ready = 1 AND lost > 0
    UNION ALL SELECT id FROM jobs WHERE queue = :queue AND ready = 0
    UNION ALL SELECT id FROM jobs WHERE queue = :queue AND ready = 2
    UNION ALL SELECT id FROM jobs WHERE queue = :queue AND ready = 3) LIMIT :most);

-- name: sizes
WITH here(id, data) AS (
    SELECT id, data FROM jobs WHERE id IN (SELECT value FROM json_each(:ids))
    UNION ALL SELECT id, data FROM completed WHERE id IN (SELECT value FROM json_each(:ids)))
SELECT json_group_array(json_array(h.id, CASE WHEN h.data IS NULL THEN length(p.data) ELSE length(h.data) END))
  FROM here AS h LEFT JOIN payloads AS p ON p.job = h.id;

-- name: matching
-- Of these ids, those of the jobs that are meant. What people look for is data: no pattern is made of it.
SELECT json_group_array(json_array(id, size, queue)) FROM (
    SELECT j.id, CASE WHEN j.data IS NULL THEN length(p.data) ELSE length(j.data) END AS size, j.queue
      FROM jobs AS j LEFT JOIN payloads AS p ON p.job = j.id
     WHERE j.id IN (SELECT value FROM json_each(:ids)) AND j.status IN (SELECT value FROM json_each(:statuses))
       AND (:queue IS NULL OR j.queue = :queue) AND (:name IS NULL OR j.name = :name)
       AND (:text IS NULL OR instr(coalesce(j.data, p.data), :text) > 0 OR instr(CAST(j.message AS BLOB), :text) > 0)
    UNION ALL
    SELECT c.id, CASE WHEN c.data IS NULL THEN length(p.data) ELSE length(c.data) END, c.queue
      FROM completed AS c LEFT JOIN payloads AS p ON p.job = c.id
     WHERE 1 IN (SELECT value FROM json_each(:statuses)) AND c.id IN (SELECT value FROM json_each(:ids))
       AND (:queue IS NULL OR c.queue = :queue) AND (:name IS NULL OR c.name = :name)
       AND (:text IS NULL OR instr(coalesce(c.data, p.data), :text) > 0));

-- name: history
SELECT attempt, runner, started_at, duration, outcome, error, traceback FROM attempts WHERE job = :id ORDER BY attempt;

-- name: cancel_running
UPDATE jobs SET cancel_requested = 1 WHERE id = :id AND status = 4;

-- name: hasten
-- Those of them that wait for their time are due now: the next claim lets them stand in line.
UPDATE jobs SET run_at = :now, position = CASE WHEN position <> 0 THEN :now ELSE 0 END
 WHERE id IN (SELECT value FROM json_each(:ids)) AND +status IN (0, 2) AND +run_at > :now
RETURNING id;

-- name: hasten_terms
-- The greatest number: it follows others, and cannot be due before they have ended.
UPDATE terms SET later_until = :now
 WHERE job IN (SELECT value FROM json_each(:ids)) AND +later_until > :now AND +later_until < 9223372036854775807;

-- name: not_due
-- Whether a job is settled, or waits for its time.
SELECT EXISTS (SELECT 1 FROM jobs WHERE id = :id AND (settled_at IS NOT NULL OR ready IN (0, 3) AND run_at > :now));

-- name: restore_failed
UPDATE jobs SET status = 0, ready = 1, retry_count = 0, lost = 0, settled_at = NULL, message = '', run_at = :now,
       position = CASE WHEN position <> 0 THEN :now ELSE 0 END
 WHERE queue = :queue AND status = 3 AND settled_at IS NOT NULL AND NOT special
RETURNING id;

-- name: restore
UPDATE jobs SET status = 0, ready = 1, retry_count = 0, lost = 0, settled_at = NULL, message = '', run_at = :now,
       position = CASE WHEN position <> 0 THEN :now ELSE 0 END
 WHERE queue = :queue AND status IN (3, 5) AND id IN (SELECT value FROM json_each(:ids))
RETURNING id;

-- name: special_failed
SELECT json_group_array(id) FROM jobs
 WHERE queue = :queue AND status = 3 AND settled_at IS NOT NULL AND special;

-- name: special_restorable
SELECT json_group_array(id) FROM jobs
 WHERE queue = :queue AND status IN (3, 5) AND special AND id IN (SELECT value FROM json_each(:ids));

-- name: reopen_terms
-- Not where another job has the key by now. A job that followed others follows nobody any more.
UPDATE OR IGNORE terms SET is_open = 1, follows = NULL, follows_batch = NULL WHERE job = :job;

-- name: uncount
-- A restored job of a batch is under way again.
UPDATE batches SET failed = failed - (:status = 3), cancelled = cancelled - (:status = 5), done_at = NULL
 WHERE id = (SELECT batch FROM terms WHERE job = :job);

-- name: clean
DELETE FROM jobs WHERE id IN (
    SELECT id FROM jobs WHERE queue = :queue AND status = :status AND settled_at IS NOT NULL ORDER BY id LIMIT :limit)
RETURNING id;

-- name: delete_settled
DELETE FROM jobs WHERE id IN (SELECT value FROM json_each(:ids)) AND +settled_at IS NOT NULL RETURNING id;

-- name: delete_completed
DELETE FROM completed WHERE id IN (SELECT value FROM json_each(:ids)) RETURNING id;

-- name: nth_completed
-- The newest of those that are more than :count.
SELECT settled_at, id FROM completed WHERE queue = :queue ORDER BY settled_at DESC, id DESC LIMIT 1 OFFSET :count;

-- name: nth_failed
SELECT settled_at, id FROM jobs WHERE queue = :queue AND status = 3 AND settled_at IS NOT NULL
 ORDER BY settled_at DESC, id DESC LIMIT 1 OFFSET :count;

-- name: nth_result
SELECT until, job FROM results WHERE queue = :queue ORDER BY until DESC, job DESC LIMIT 1 OFFSET :count;

-- name: old_completed
-- Those settled up to a place in that order, the oldest first, with what they hold.
SELECT json_group_array(json_array(c.id, CASE WHEN c.data IS NULL THEN (SELECT length(data) FROM payloads WHERE job = c.id)
                                              ELSE length(c.data) END))
  FROM (SELECT id, data FROM completed WHERE queue = :queue AND (settled_at, id) <= (:at, :last)
         ORDER BY settled_at, id LIMIT :limit) AS c;

-- name: old_failed
-- No index has their order: in that of their ids, which is nearly the same.
SELECT json_group_array(json_array(j.id, CASE WHEN j.data IS NULL THEN (SELECT length(data) FROM payloads WHERE job = j.id)
                                              ELSE length(j.data) END))
  FROM (SELECT id, data FROM jobs
         WHERE queue = :queue AND status = 3 AND settled_at IS NOT NULL AND (settled_at, id) <= (:at, :last)
         ORDER BY id LIMIT :limit) AS j;

-- name: old_results
SELECT json_group_array(json_array(r.job, length(r.result)))
  FROM (SELECT job, result FROM results INDEXED BY results_counted
         WHERE queue = :queue AND (until, job) <= (:at, :last)
         ORDER BY until, job LIMIT :limit) AS r;

-- name: prune_failed
-- Not one that was restored since it was looked for, and has failed again.
DELETE FROM jobs WHERE id IN (SELECT value FROM json_each(:ids)) AND +status = 3 AND +settled_at <= :at RETURNING id;

-- name: prune_results
DELETE FROM results WHERE job IN (SELECT value FROM json_each(:ids)) RETURNING job;

-- name: size
SELECT (SELECT count(*) FROM jobs WHERE queue = :queue AND ready = 1 AND lost = 0)
     + (SELECT count(*) FROM jobs WHERE queue = :queue AND ready = 1 AND lost > 0)
     + (SELECT count(*) FROM jobs WHERE queue = :queue AND ready = 0)
     + (SELECT count(*) FROM jobs WHERE queue = :queue AND ready = 2)
     + (SELECT count(*) FROM jobs WHERE queue = :queue AND ready = 3)
     + (SELECT count(*) FROM jobs WHERE queue = :queue AND status = 4),
       (SELECT count(*) FROM jobs WHERE queue = :queue AND status = 3 AND settled_at IS NOT NULL);

-- name: idle
SELECT NOT EXISTS (SELECT 1 FROM jobs WHERE queue = :queue AND ready = 1 AND lost = 0)
   AND NOT EXISTS (SELECT 1 FROM jobs WHERE queue = :queue AND ready = 1 AND lost > 0)
   AND NOT EXISTS (SELECT 1 FROM jobs WHERE queue = :queue AND ready = 2)
   AND NOT EXISTS (SELECT 1 FROM jobs WHERE queue = :queue AND status = 4)
   AND NOT EXISTS (SELECT 1 FROM jobs WHERE queue = :queue AND ready = 0 AND run_at <= :now)
   AND NOT EXISTS (SELECT 1 FROM jobs WHERE queue = :queue AND status = 2);

-- name: standings
-- For people. Each part counts along an index of its own.
-- Kinds: 1 due, 0 later, 2 retrying (counted above already), 3 failed, 4 running, 5 cancelled, 6 completed.
SELECT json_group_array(json_array(queue, kind, jobs, oldest, (SELECT run_at FROM jobs WHERE id = oldest))) FROM (
    SELECT queue, 1 AS kind, count(*) AS jobs, min(id) AS oldest FROM jobs WHERE ready = 1 AND lost = 0 GROUP BY queue
    UNION ALL SELECT queue, 1, count(*), min(id) FROM jobs WHERE ready = 1 AND lost > 0 GROUP BY queue
    UNION ALL SELECT queue, 1, count(*), min(id) FROM jobs WHERE ready = 0 AND run_at <= :now GROUP BY queue
    UNION ALL SELECT queue, 1, count(*), min(id) FROM jobs WHERE ready = 2 GROUP BY queue
    UNION ALL SELECT queue, 0, count(*), NULL FROM jobs WHERE ready = 3 GROUP BY queue
    UNION ALL SELECT queue, 0, count(*), NULL FROM jobs WHERE ready = 0 AND run_at > :now GROUP BY queue
    UNION ALL SELECT queue, 2, count(*), NULL FROM jobs WHERE status = 2 GROUP BY queue
    UNION ALL SELECT queue, 4, count(*), NULL FROM jobs WHERE status = 4 GROUP BY queue
    UNION ALL SELECT queue, status, count(*), NULL FROM jobs WHERE settled_at IS NOT NULL GROUP BY queue, status
    UNION ALL SELECT queue, 6, count(*), NULL FROM completed GROUP BY queue
    UNION ALL SELECT queue, 1, 0, NULL FROM pauses);  -- a pause is to be seen before there are jobs

-- name: task_standings
-- For people. Of the newest jobs, because no index has their names. Kinds: as of standings.
SELECT queue, name,
       CASE WHEN status IN (3, 4, 5) THEN status WHEN ready IN (1, 2) OR ready = 0 AND run_at <= :now THEN 1 ELSE 0 END AS kind,
       count(*)
  FROM (SELECT queue, name, status, ready, run_at FROM jobs ORDER BY id DESC LIMIT :most) AS newest
 GROUP BY queue, name, kind;

-- name: enlisted
SELECT json_group_array(json_array(id, queue, label, started_at, running, json(knows))) FROM (
    SELECT id, queue, label, started_at, knows,
           (SELECT count(*) FROM jobs WHERE status = 4 AND runner = runners.id) AS running
      FROM runners ORDER BY id);

-- name: put_schedule
-- The same again changes nothing; another of this name takes its place, and stays paused if it was.
INSERT INTO schedules (queue, name, spec, next_at) VALUES (:queue, :name, :spec, :first)
    ON CONFLICT (queue, name) DO UPDATE SET spec = :spec, next_at = :first WHERE spec <> :spec;

-- name: due_schedules
SELECT name, next_at, spec FROM schedules WHERE queue = :queue AND paused = 0 AND next_at <= :now ORDER BY next_at, name;

-- name: next_slots
SELECT name, next_at FROM schedules WHERE queue = :queue AND paused = 0 ORDER BY next_at;

-- name: fire
-- Of all who saw the slot, the first finds it still there. Its jobs are pushed in the same transaction.
UPDATE schedules SET next_at = :then WHERE queue = :queue AND name = :name AND next_at = :seen AND paused = 0;

-- name: fired
UPDATE schedules SET last_at = :slot, last_job = :job WHERE queue = :queue AND name = :name;

-- name: slot_stands
SELECT EXISTS (SELECT 1 FROM schedules WHERE queue = :queue AND name = :name AND next_at = :seen);

-- name: schedules
SELECT queue, name, spec, next_at, last_at, last_job, paused FROM schedules
 WHERE :queue IS NULL OR queue = :queue ORDER BY queue, name;

-- name: schedule
SELECT spec, paused FROM schedules WHERE queue = :queue AND name = :name;

-- name: pause_schedule
UPDATE schedules SET paused = 1 WHERE queue = :queue AND name = :name;

-- name: resume_schedule
UPDATE schedules SET paused = 0, next_at = :then WHERE queue = :queue AND name = :name;

-- name: forget_schedule
DELETE FROM schedules WHERE queue = :queue AND name = :name;

-- name: objects
SELECT count(*) FROM sqlite_master;

-- name: add_meta
INSERT INTO meta (store_id, made_by, made_at) VALUES (lower(hex(randomblob(16))), :made_by, :now);

-- name: check_jobs
SELECT (SELECT count(*) FROM jobs WHERE data IS NULL AND id NOT IN (SELECT job FROM payloads)),
       (SELECT count(*) FROM payloads WHERE job NOT IN (SELECT id FROM jobs WHERE data IS NULL)
                                        AND job NOT IN (SELECT id FROM completed WHERE data IS NULL)),
       (SELECT count(*) FROM attempts WHERE job NOT IN (SELECT id FROM jobs) AND job NOT IN (SELECT id FROM completed)),
       (SELECT count(*) FROM jobs WHERE backoff NOT IN (SELECT id FROM backoffs)),
       (SELECT count(*) FROM attempts AS a JOIN jobs AS j ON j.id = a.job WHERE a.attempt > j.attempt),
       (SELECT count(*) FROM jobs WHERE id > coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'jobs'), 0)),
       (SELECT count(*) FROM completed WHERE id IN (SELECT id FROM jobs)),
       (SELECT count(*) FROM completed WHERE data IS NULL AND id NOT IN (SELECT job FROM payloads)),
       (SELECT count(*) FROM completed WHERE backoff NOT IN (SELECT id FROM backoffs)),
       (SELECT count(*) FROM attempts AS a JOIN completed AS c ON c.id = a.job WHERE a.attempt >= c.attempt),
       (SELECT count(*) FROM completed WHERE id > coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'jobs'), 0));

-- name: check_rows
-- The CHECKs of the schema once more, for a file whose rows were edited by hand with them switched off.
SELECT count(*) FROM jobs
 WHERE status NOT IN (0, 2, 3, 4, 5) OR (status IN (0, 2)) <> (ready IS NOT NULL) OR (status = 4) <> (runner IS NOT NULL)
    OR (status = 4) <> (lease_until IS NOT NULL) OR (status IN (3, 5)) <> (settled_at IS NOT NULL)
    OR (status <> 4 AND claimed_at IS NOT NULL)
    OR (status = 4 AND attempt < 1) OR (status = 2 AND retry_count + lost < 1) OR (ready > 1 AND NOT special);

-- name: add_terms
-- Rows [job, spec, key, expires_at, limit lane, rate lane, order lane, batch, follows, follows_batch]. The place of a job
-- is noted when it is kept back.
INSERT INTO terms (job, queue, name, priority, position, spec, key, expires_at, limit_lane, rate_lane, order_lane,
                   batch, follows, follows_batch, later_until)
SELECT json_extract(value, '$[0]'), :queue, :name, :priority, 0, json_extract(value, '$[1]'),
       json_extract(value, '$[2]'), json_extract(value, '$[3]'), json_extract(value, '$[4]'),
       json_extract(value, '$[5]'), json_extract(value, '$[6]'), json_extract(value, '$[7]'),
       json_extract(value, '$[8]'), json_extract(value, '$[9]'),
       (SELECT CASE ready WHEN 0 THEN run_at WHEN 3 THEN 9223372036854775807 END
          FROM jobs WHERE id = json_extract(value, '$[0]'))
  FROM json_each(:rows);

-- name: key_holder
-- +job, here and where a statement may run on a connection of the application's: that may convert the columns of a table.
-- The second is until when it may wait, if it waits and that is limited.
SELECT +job, CASE WHEN NOT runs THEN expires_at END
  FROM terms WHERE queue = :queue AND name = :name AND key = :key AND is_open;

-- name: key_taken
SELECT +job FROM taken_keys WHERE queue = :queue AND name = :name AND key = :key AND until > :now;

-- name: take_key
INSERT INTO taken_keys (queue, name, key, job, until, taken_at) VALUES (:queue, :name, :key, :job, :until, :now)
    ON CONFLICT (queue, name, key)
    DO UPDATE SET job = excluded.job, until = excluded.until, taken_at = excluded.taken_at;

-- name: free_key
DELETE FROM taken_keys WHERE queue = :queue AND name = :name AND key = :key;

-- name: terms_of
SELECT json_group_array(json_array(job, queue, spec)) FROM terms WHERE job IN (SELECT value FROM json_each(:ids));

-- name: limit_runs
SELECT count(*) FROM terms WHERE queue = :queue AND limit_lane = :lane AND runs;

-- name: is_behind
-- Whether an earlier job for the same order runs, waits for another try, or is due; or any of them runs.
SELECT EXISTS (SELECT 1 FROM terms AS t JOIN jobs AS j ON j.id = t.job
                WHERE t.queue = :queue AND t.order_lane = :lane AND t.is_open AND t.later_until IS NULL
                  AND t.job < :job AND (j.status IN (2, 4) OR j.ready IN (1, 2)))
    OR EXISTS (SELECT 1 FROM terms WHERE queue = :queue AND order_lane = :lane AND job > :job AND runs);

-- name: count_starts
SELECT count(*) FROM starts WHERE queue = :queue AND lane = :lane AND at > :since;

-- name: nth_start
-- The start before which :before others came later: when it is out of sight, there is room for one. Those that are out
-- of sight were forgotten.
SELECT at FROM starts WHERE queue = :queue AND lane = :lane ORDER BY at DESC LIMIT 1 OFFSET :before;

-- name: forget_starts
-- Those of long ago, and those of a clock that was set back since.
DELETE FROM starts WHERE rowid IN (
    SELECT rowid FROM starts WHERE queue = :queue AND lane = :lane AND at <= :since
    UNION ALL SELECT rowid FROM starts WHERE queue = :queue AND lane = :lane AND at > :now);

-- name: add_starts
INSERT INTO starts (queue, lane, at) SELECT :queue, value, :now FROM json_each(:lanes);

-- name: keep_back
-- Rows [job, kept_by]. The best of those kept back is found by their place: in a queue by time a retry moves it.
UPDATE terms SET kept_by = json_extract(r.value, '$[1]'), position = (SELECT position FROM jobs WHERE id = terms.job)
  FROM json_each(:rows) AS r
 WHERE terms.job = json_extract(r.value, '$[0]');

-- name: kept_back
UPDATE jobs SET ready = 2 WHERE id IN (SELECT json_extract(value, '$[0]') FROM json_each(:rows));

-- name: pause_terms
-- Plain jobs get terms when a pause keeps them back.
INSERT OR IGNORE INTO terms (job, queue, name, priority, position, spec)
SELECT id, queue, name, priority, position, '{}' FROM jobs WHERE id IN (SELECT value FROM json_each(:ids));

-- name: make_special
UPDATE jobs SET special = 1 WHERE id IN (SELECT value FROM json_each(:ids));

-- name: let_go_limited
-- The best that a lane keeps back: ids.
SELECT json_group_array(job) FROM (
    SELECT job FROM terms WHERE queue = :queue AND limit_lane = :lane AND kept_by = 1
     ORDER BY priority DESC, position, job LIMIT :limit);

-- name: let_go_rated
SELECT json_group_array(job) FROM (
    SELECT job FROM terms WHERE queue = :queue AND rate_lane = :lane AND kept_by = 3
     ORDER BY priority DESC, position, job LIMIT :limit);

-- name: let_go_ordered
SELECT json_group_array(job) FROM (
    SELECT job FROM terms WHERE queue = :queue AND order_lane = :lane AND kept_by = 2 ORDER BY job LIMIT :limit);

-- name: let_go_paused
SELECT json_group_array(job) FROM (
    SELECT job FROM terms WHERE queue = :queue AND name = :name AND kept_by = 4 ORDER BY job LIMIT :limit);

-- name: paused_names
-- From one name to the next, for each may keep very many back.
WITH RECURSIVE n(name) AS (
    SELECT min(name) FROM terms WHERE queue = :queue AND kept_by = 4
    UNION ALL SELECT (SELECT min(name) FROM terms WHERE queue = :queue AND kept_by = 4 AND name > n.name)
                FROM n WHERE n.name IS NOT NULL)
SELECT json_group_array(name) FROM n WHERE name IS NOT NULL;

-- name: free_terms
UPDATE terms SET kept_by = NULL WHERE job IN (SELECT value FROM json_each(:ids));

-- name: free_jobs
UPDATE jobs SET ready = 1 WHERE id IN (SELECT value FROM json_each(:ids));

-- name: in_order
SELECT json_group_array(id) FROM (
    SELECT id FROM jobs WHERE id IN (SELECT value FROM json_each(:ids)) ORDER BY priority DESC, position, id);

-- name: start_terms
UPDATE terms SET runs = 1 WHERE job IN (SELECT value FROM json_each(:ids));

-- name: stop_terms
UPDATE terms SET runs = 0 WHERE job IN (SELECT value FROM json_each(:ids));

-- name: end_terms
UPDATE terms SET runs = 0, is_open = 0, kept_by = NULL, later_until = NULL WHERE job IN (SELECT value FROM json_each(:ids));

-- name: drop_terms
DELETE FROM terms
 WHERE job IN (SELECT value FROM json_each(:ids)) AND NOT EXISTS (SELECT 1 FROM jobs WHERE id = terms.job);

-- name: opening_lanes
SELECT json_group_array(json_array(lane, most)) FROM (
    SELECT lane, most FROM closed_lanes WHERE queue = :queue AND opens_at <= :now ORDER BY opens_at LIMIT :limit);

-- name: close_lane
INSERT INTO closed_lanes (queue, lane, most, opens_at, closed_at)
SELECT :queue, :lane, :most, :opens_at, :now
 WHERE EXISTS (SELECT 1 FROM terms WHERE queue = :queue AND rate_lane = :lane AND kept_by = 3)
    ON CONFLICT (queue, lane)
    DO UPDATE SET most = excluded.most, opens_at = excluded.opens_at, closed_at = excluded.closed_at;

-- name: open_lane
DELETE FROM closed_lanes WHERE queue = :queue AND lane = :lane
   AND NOT EXISTS (SELECT 1 FROM terms WHERE queue = :queue AND rate_lane = :lane AND kept_by = 3);

-- name: delay_lane
UPDATE closed_lanes SET opens_at = :opens_at, closed_at = :now WHERE queue = :queue AND lane = :lane;

-- name: reopen_lanes
-- Those that closed before the clock was set back, of all queues.
UPDATE closed_lanes SET opens_at = :now, closed_at = :now WHERE closed_at > :now;

-- name: cancel_job
-- One that waits, for a reason of ours.
UPDATE jobs SET status = 5, ready = NULL, settled_at = :now, message = :message WHERE id = :id AND status IN (0, 2);

-- name: cancel_plain
-- Those of them that wait and have no terms, of which nothing follows.
UPDATE jobs SET status = 5, ready = NULL, settled_at = :now, message = :message
 WHERE id IN (SELECT value FROM json_each(:ids)) AND +status IN (0, 2) AND NOT special
RETURNING id;

-- name: followers
SELECT json_group_array(job) FROM terms WHERE follows = :job AND is_open;

-- name: batch_followers
SELECT json_group_array(job) FROM terms WHERE follows_batch = :batch AND is_open;

-- name: unfollow
UPDATE terms SET follows = NULL, follows_batch = NULL, later_until = NULL WHERE job = :job;

-- name: call_follower
UPDATE jobs SET ready = run_at <= :now WHERE id = :job;

-- name: data_of
SELECT coalesce(j.data, p.data) FROM jobs AS j LEFT JOIN payloads AS p ON p.job = j.id WHERE j.id = :job;

-- name: set_data
UPDATE jobs SET data = :data WHERE id = :job AND status <> 4;

-- name: set_large
INSERT OR REPLACE INTO payloads (job, data) VALUES (:job, :data);

-- name: drop_large
DELETE FROM payloads WHERE job = :job;

-- name: open_batch
INSERT INTO batches (queue) VALUES (:queue) RETURNING +id;

-- name: seal_batch
UPDATE batches SET sealed = 1 WHERE id = :batch;

-- name: batch
SELECT +id, +queue, +sealed, +total, +completed, +failed, +cancelled FROM batches WHERE id = :batch;

-- name: newest_batches
SELECT id, queue, sealed, total, completed, failed, cancelled FROM batches
 WHERE id < :before ORDER BY id DESC LIMIT :limit;

-- name: count_in
UPDATE batches SET total = total + :count WHERE id = :batch AND NOT sealed;

-- name: count_out
UPDATE batches SET completed = completed + :completed, failed = failed + :failed, cancelled = cancelled + :cancelled
 WHERE id = :batch;

-- name: batch_done
UPDATE batches SET done_at = :now
 WHERE id = :batch AND sealed AND done_at IS NULL AND completed + failed + cancelled = total;

-- name: batch_waiting
-- The newest first: what follows others has not been cancelled with them then.
SELECT json_group_array(t.job) FROM (
    SELECT terms.job FROM terms JOIN jobs ON jobs.id = terms.job
     WHERE terms.batch = :batch AND terms.is_open = 1 AND jobs.status IN (0, 2)
     ORDER BY terms.job DESC LIMIT :limit) AS t;

-- name: cancel_running_of_batch
UPDATE jobs SET cancel_requested = 1
 WHERE status = 4 AND NOT cancel_requested AND EXISTS (SELECT 1 FROM terms WHERE job = jobs.id AND batch = :batch);

-- name: expiring
SELECT json_group_array(job) FROM (
    SELECT job FROM terms
     WHERE queue = :queue AND expires_at <= :now AND is_open AND NOT runs LIMIT :limit);

-- name: keep_result
INSERT OR REPLACE INTO results (job, result, until, queue) VALUES (:job, :result, :until, :queue);

-- name: forget_results
DELETE FROM results WHERE job IN (SELECT job FROM results WHERE until <= :now ORDER BY until LIMIT :limit);

-- name: forget_keys
DELETE FROM taken_keys WHERE rowid IN (SELECT rowid FROM taken_keys WHERE until <= :now ORDER BY until LIMIT :limit);

-- name: restart_windows
-- Of keys that were taken before the clock was set back: for as long as they were to be taken, from now on.
UPDATE taken_keys SET until = :now + until - taken_at, taken_at = :now
 WHERE rowid IN (SELECT rowid FROM taken_keys WHERE taken_at > :now ORDER BY taken_at LIMIT :limit);

-- name: forget_batches
DELETE FROM batches WHERE id IN (SELECT id FROM batches WHERE done_at <= :before LIMIT :limit);

-- name: add_figures
-- Rows [span, start, name, completed, failed, retried, cancelled, lost, wait_sum, wait_max, run_sum, run_max,
-- wait_buckets, run_buckets], added to those that are there.
INSERT INTO figures (span, start, queue, name, completed, failed, retried, cancelled, lost, wait_sum, wait_max, run_sum,
                     run_max, wait_buckets, run_buckets, noted_at)
SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), :queue, json_extract(value, '$[2]'),
       json_extract(value, '$[3]'), json_extract(value, '$[4]'), json_extract(value, '$[5]'),
       json_extract(value, '$[6]'), json_extract(value, '$[7]'), json_extract(value, '$[8]'),
       json_extract(value, '$[9]'), json_extract(value, '$[10]'), json_extract(value, '$[11]'),
       json_extract(value, '$[12]'), json_extract(value, '$[13]'), :now
  FROM json_each(:rows) WHERE TRUE
    ON CONFLICT (span, start, queue, name) DO UPDATE
   SET completed = completed + excluded.completed, failed = failed + excluded.failed,
       retried = retried + excluded.retried, cancelled = cancelled + excluded.cancelled, lost = lost + excluded.lost,
       wait_sum = wait_sum + excluded.wait_sum, wait_max = max(wait_max, excluded.wait_max),
       run_sum = run_sum + excluded.run_sum, run_max = max(run_max, excluded.run_max),
       wait_buckets = (SELECT json_group_array(total) FROM (
           SELECT sum(value) AS total
             FROM (SELECT key, value FROM json_each(figures.wait_buckets)
                   UNION ALL SELECT key, value FROM json_each(excluded.wait_buckets))
            GROUP BY key ORDER BY key)),
       run_buckets = (SELECT json_group_array(total) FROM (
           SELECT sum(value) AS total
             FROM (SELECT key, value FROM json_each(figures.run_buckets)
                   UNION ALL SELECT key, value FROM json_each(excluded.run_buckets))
            GROUP BY key ORDER BY key)),
       noted_at = excluded.noted_at;

-- name: backlog_noted
-- No job has this name: what stands there was noted.
SELECT EXISTS (SELECT 1 FROM figures
                WHERE span = 1 AND start = :start AND queue = :queue AND name = '');

-- name: backlog
-- How many are due and do not run; and since when the one of them that was pushed first. Each part counts along an index.
SELECT waiting, (SELECT run_at FROM jobs WHERE id = oldest) FROM (
    SELECT sum(jobs) AS waiting, min(first) AS oldest FROM (
        SELECT count(*) AS jobs, min(id) AS first FROM jobs WHERE queue = :queue AND ready = 1 AND lost = 0
        UNION ALL SELECT count(*), min(id) FROM jobs WHERE queue = :queue AND ready = 1 AND lost > 0
        UNION ALL SELECT count(*), min(id) FROM jobs WHERE queue = :queue AND ready = 0 AND run_at <= :now
        UNION ALL SELECT count(*), min(id) FROM jobs WHERE queue = :queue AND ready = 2));

-- name: note_backlog
INSERT INTO figures (span, start, queue, name, waiting, oldest, noted_at)
VALUES (:span, :start, :queue, :name, :waiting, :oldest, :now)
    ON CONFLICT (span, start, queue, name) DO UPDATE
   SET waiting = excluded.waiting, oldest = excluded.oldest, noted_at = excluded.noted_at;

-- name: figures
SELECT queue, name, start, completed, failed, retried, cancelled, lost, wait_sum, wait_max, run_sum, run_max,
       wait_buckets, run_buckets, waiting, oldest
  FROM figures
 WHERE span = :span AND start >= :since AND start < :until AND (:queue IS NULL OR queue = :queue)
 ORDER BY start, queue, name;

-- name: totals
SELECT queue, name, start, completed, failed, retried, cancelled, lost, wait_sum, wait_max, run_sum, run_max,
       wait_buckets, run_buckets, waiting, oldest
  FROM figures
 WHERE span = 0 AND start = 0 AND (:queue IS NULL OR queue = :queue)
 ORDER BY start, queue, name;

-- name: forget_figures
-- Those before an instant, and no more at once than of so long a time after the first.
DELETE FROM figures
 WHERE span = :span AND start < min(:before, :step + (SELECT min(start) FROM figures WHERE span = :span));

-- name: forget_totals
DELETE FROM figures WHERE span = 0 AND start = 0 AND noted_at < :before;

-- name: check_figures
SELECT (SELECT count(*) FROM figures
         WHERE min(completed, failed, retried, cancelled, lost, wait_sum, wait_max, run_sum, run_max) < 0
            OR (SELECT coalesce(sum(value), 0) FROM json_each(wait_buckets))
            <> (SELECT coalesce(sum(value), 0) FROM json_each(run_buckets))),
       (SELECT count(*) FROM figures AS t
         WHERE span = 0 AND completed + failed + retried + cancelled + lost < (
               SELECT sum(h.completed + h.failed + h.retried + h.cancelled + h.lost) FROM figures AS h
                WHERE h.span = 60 AND h.queue = t.queue AND h.name = t.name));

-- name: forget_progress
-- Of jobs that are gone. Very many others may have some, as those in the archive; so it looks at the newest, and at as
-- many from a place that the time tells, another every ten seconds: by the golden ratio, so that all come up soon.
DELETE FROM progress WHERE NOT EXISTS (SELECT 1 FROM jobs WHERE jobs.id = progress.job) AND job IN (
    SELECT job FROM (SELECT job FROM progress ORDER BY job DESC LIMIT 1000)
    UNION ALL SELECT job FROM (
        SELECT job FROM progress
         WHERE job > :now / 10000000 * 2654435769 % 4294967296 * (SELECT max(job) + 999 FROM progress) / 4294967296 - 999
         ORDER BY job LIMIT 1000));

-- name: note_progress
INSERT OR REPLACE INTO progress (job, data)
SELECT id, :data FROM jobs WHERE id = :job AND runner = :runner;

-- name: outlook_jobs
SELECT json_group_array(json_array(id, status, message)) FROM (
    SELECT id, status, message FROM jobs WHERE id IN (SELECT value FROM json_each(:ids))
    UNION ALL SELECT id, 1, '' FROM completed WHERE id IN (SELECT value FROM json_each(:ids)));

-- name: outlook_results
SELECT job, result FROM results WHERE job IN (SELECT value FROM json_each(:ids));

-- name: outlook_progress
SELECT job, data FROM progress WHERE job IN (SELECT value FROM json_each(:ids));

-- name: last_id
SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'jobs'), 0);

-- name: pause
INSERT OR IGNORE INTO pauses (queue, name) VALUES (:queue, :name);

-- name: resume
DELETE FROM pauses WHERE queue = :queue AND name = :name;

-- name: pauses
SELECT json_group_array(name) FROM (SELECT name FROM pauses WHERE queue = :queue ORDER BY name);

-- name: check_terms
SELECT (SELECT count(*) FROM jobs WHERE special AND id NOT IN (SELECT job FROM terms)),
       (SELECT count(*) FROM terms WHERE job NOT IN (SELECT id FROM jobs WHERE special)),
       (SELECT count(*) FROM terms AS t JOIN jobs AS j ON j.id = t.job WHERE t.runs <> (j.status = 4)),
       (SELECT count(*) FROM terms AS t JOIN jobs AS j ON j.id = t.job WHERE t.is_open <> (j.settled_at IS NULL)),
       (SELECT count(*) FROM terms AS t JOIN jobs AS j ON j.id = t.job
         WHERE (t.kept_by IS NOT NULL) <> (j.ready IS 2)),
       (SELECT count(*) FROM terms AS t JOIN jobs AS j ON j.id = t.job
         WHERE j.ready = 3 AND t.follows IS NULL AND t.follows_batch IS NULL);

-- name: status_of
SELECT status FROM jobs WHERE id = :job;

-- name: wants_sweeping
-- Whether the statements that sweep would find anything; as they look for it.
WITH RECURSIVE paused(name) AS (
    SELECT min(name) FROM terms WHERE queue = :queue AND kept_by = 4
    UNION ALL SELECT (SELECT min(name) FROM terms WHERE queue = :queue AND kept_by = 4 AND name > paused.name)
                FROM paused WHERE paused.name IS NOT NULL),
progressed(job) AS (
    SELECT job FROM (SELECT job FROM progress ORDER BY job DESC LIMIT 1000)
    UNION ALL SELECT job FROM (
        SELECT job FROM progress
         WHERE job > :now / 10000000 * 2654435769 % 4294967296 * (SELECT max(job) + 999 FROM progress) / 4294967296 - 999
         ORDER BY job LIMIT 1000))
SELECT EXISTS (SELECT 1 FROM terms WHERE queue = :queue AND expires_at <= :now AND is_open AND NOT runs)
    OR EXISTS (SELECT 1 FROM results WHERE until <= :now)
    OR EXISTS (SELECT 1 FROM taken_keys WHERE until <= :now)
    OR EXISTS (SELECT 1 FROM taken_keys WHERE taken_at > :now)
    OR EXISTS (SELECT 1 FROM closed_lanes WHERE closed_at > :now)
    OR EXISTS (SELECT 1 FROM batches WHERE done_at <= :before)
    OR EXISTS (SELECT 1 FROM figures WHERE span = 1 AND start < :minutes_before)
    OR EXISTS (SELECT 1 FROM figures WHERE span = 60 AND start < :hours_before)
    OR EXISTS (SELECT 1 FROM figures WHERE span = 0 AND noted_at < :hours_before)
    OR EXISTS (SELECT 1 FROM progressed WHERE job NOT IN (SELECT id FROM jobs))
    OR EXISTS (SELECT 1 FROM paused WHERE name IS NOT NULL AND name NOT IN (SELECT name FROM pauses WHERE queue = :queue));

-- name: situation
SELECT ready, runner, lease_until, (SELECT lease FROM runners WHERE runners.id = jobs.runner) FROM jobs WHERE id = :job;

-- name: limit_holders
-- The first jobs of a lane that run.
SELECT json_group_array(job) FROM (
    SELECT job FROM terms WHERE queue = :queue AND limit_lane = :lane AND runs ORDER BY job LIMIT :limit);

-- name: ahead
-- The first of those for which `is_behind` says yes.
SELECT job, status FROM (
    SELECT * FROM (
        SELECT t.job, j.status FROM terms AS t JOIN jobs AS j ON j.id = t.job
         WHERE t.queue = :queue AND t.order_lane = :lane AND t.is_open AND t.later_until IS NULL
           AND t.job < :job AND (j.ready IN (1, 2) OR j.status IN (2, 4)) ORDER BY t.job LIMIT 1)
    UNION ALL SELECT * FROM (
        SELECT job, 4 FROM terms WHERE queue = :queue AND order_lane = :lane AND job > :job AND runs LIMIT 1))
 LIMIT 1;

-- name: front
-- Who is claimed next, best first: ids.
SELECT json_group_array(id) FROM (
    SELECT id FROM jobs WHERE queue = :queue AND ready = 1 AND lost = 0 ORDER BY priority DESC, position, id LIMIT :limit);

-- name: begin_push
SAVEPOINT workqueue_push;

-- name: undo_push
ROLLBACK TO workqueue_push;

-- name: end_push
RELEASE workqueue_push;

-- name: move
INSERT INTO moves (move, target, begun_at) VALUES (:move, :target, :now);

-- name: moved
UPDATE moves SET done_at = :now WHERE done_at IS NULL;

-- name: forget_moves
DELETE FROM moves;

-- name: moves
SELECT move, target, done_at FROM moves;

-- name: copies
SELECT source_id, source, move, step, after, last_job, last_batch, done_at FROM copies ORDER BY begun_at;

-- name: begin_copy
INSERT INTO copies (source_id, source, move, step, after, last_job, last_batch, begun_at)
VALUES (:source_id, :source, :move, :step, :after, :last_job, :last_batch, :now);

-- name: drop_copy
-- With what it brought, when it cannot be gone on with: the drop_* do that.
DELETE FROM copies WHERE source_id = :source_id AND done_at IS NULL;

-- name: copy_on
-- Nothing when another process is at the same copy.
UPDATE copies SET step = :step, after = :after
 WHERE source_id = :source_id AND step = :was_step AND after = :was_after AND done_at IS NULL;

-- name: copied
UPDATE copies SET done_at = :now WHERE source_id = :source_id AND done_at IS NULL;

-- name: store_id
SELECT store_id FROM meta;

-- name: is_empty
SELECT NOT EXISTS (SELECT 1 FROM jobs) AND NOT EXISTS (SELECT 1 FROM batches) AND NOT EXISTS (SELECT 1 FROM results)
   AND NOT EXISTS (SELECT 1 FROM pauses) AND NOT EXISTS (SELECT 1 FROM schedules)
   AND NOT EXISTS (SELECT 1 FROM taken_keys) AND NOT EXISTS (SELECT 1 FROM starts)
   AND NOT EXISTS (SELECT 1 FROM closed_lanes) AND NOT EXISTS (SELECT 1 FROM completed);

-- name: shut_jobs
-- A store whose jobs go elsewhere takes no new ones and runs none. A trigger costs nothing where there is none.
CREATE TRIGGER IF NOT EXISTS moved_jobs BEFORE INSERT ON jobs
BEGIN SELECT RAISE(ABORT, 'closed by workqueue copy'); END;

-- name: shut_claims
CREATE TRIGGER IF NOT EXISTS moved_claims BEFORE UPDATE ON jobs
BEGIN SELECT RAISE(ABORT, 'closed by workqueue copy'); END;

-- name: shut_cleaning
CREATE TRIGGER IF NOT EXISTS moved_cleaning BEFORE DELETE ON jobs
BEGIN SELECT RAISE(ABORT, 'closed by workqueue copy'); END;

-- name: shut_completed
CREATE TRIGGER IF NOT EXISTS moved_completed BEFORE DELETE ON completed
BEGIN SELECT RAISE(ABORT, 'closed by workqueue copy'); END;

-- name: shut_runners
CREATE TRIGGER IF NOT EXISTS moved_runners BEFORE INSERT ON runners
BEGIN SELECT RAISE(ABORT, 'closed by workqueue copy'); END;

-- name: shut_batches
CREATE TRIGGER IF NOT EXISTS moved_batches BEFORE INSERT ON batches
BEGIN SELECT RAISE(ABORT, 'closed by workqueue copy'); END;

-- name: shut_schedules
CREATE TRIGGER IF NOT EXISTS moved_schedules BEFORE INSERT ON schedules
BEGIN SELECT RAISE(ABORT, 'closed by workqueue copy'); END;

-- name: open_jobs
DROP TRIGGER IF EXISTS moved_jobs;

-- name: open_claims
DROP TRIGGER IF EXISTS moved_claims;

-- name: open_cleaning
DROP TRIGGER IF EXISTS moved_cleaning;

-- name: open_completed
DROP TRIGGER IF EXISTS moved_completed;

-- name: open_runners
DROP TRIGGER IF EXISTS moved_runners;

-- name: open_batches
DROP TRIGGER IF EXISTS moved_batches;

-- name: open_schedules
DROP TRIGGER IF EXISTS moved_schedules;

-- name: begin_look
-- What is read until the end of it is all of one moment.
BEGIN;

-- name: end_look
ROLLBACK;

-- name: last_ids
SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'jobs'), 0),
       coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'batches'), 0);

-- name: continue_job_ids
-- Ids that the other store gave out are not given out again.
INSERT INTO sqlite_sequence (name, seq)
SELECT 'jobs', :last WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'jobs');

-- name: raise_job_ids
UPDATE sqlite_sequence SET seq = max(seq, :last) WHERE name = 'jobs';

-- name: continue_batch_ids
INSERT INTO sqlite_sequence (name, seq)
SELECT 'batches', :last WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'batches');

-- name: raise_batch_ids
UPDATE sqlite_sequence SET seq = max(seq, :last) WHERE name = 'batches';

-- name: export_backoffs
SELECT id, rule FROM backoffs;

-- name: export_jobs
-- Whole rows, page by page, in the order of their key; the columns are those of `relational.rows`, in its order. A job
-- that runs is in the hands of nobody (0) in another store.
SELECT j.id, j.queue, j.name, j.status, j.ready, j.special, j.priority, j.position, j.run_at, j.pushed_at, j.backoff,
       j.attempt, j.retry_count, j.lost, j.cancel_requested, CASE WHEN j.runner IS NOT NULL THEN 0 END, j.lease_until,
       j.settled_at, j.message, j.headers, coalesce(j.data, p.data)
  FROM jobs AS j LEFT JOIN payloads AS p ON p.job = j.id
 WHERE j.id > :id AND j.id <= :last ORDER BY j.id LIMIT :limit;

-- name: export_completed
SELECT c.id, c.queue, c.name, c.priority, c.run_at, c.pushed_at, c.claimed_at, c.settled_at, c.attempt, c.retry_count,
       c.backoff, c.lost, c.runner, c.spec, c.headers, coalesce(c.data, p.data)
  FROM completed AS c LEFT JOIN payloads AS p ON p.job = c.id
 WHERE c.id > :id AND c.id <= :last ORDER BY c.id LIMIT :limit;

-- name: export_terms
SELECT job, queue, name, spec, is_open, runs, kept_by, priority, position, key, expires_at, limit_lane, rate_lane,
       order_lane, batch, follows, follows_batch
  FROM terms WHERE job > :job AND job <= :last ORDER BY job LIMIT :limit;

-- name: export_attempts
SELECT job, attempt, runner, started_at, duration, outcome, error, traceback
  FROM attempts WHERE (job, attempt) > (:job, :attempt) AND job <= :last ORDER BY job, attempt LIMIT :limit;

-- name: export_results
SELECT job, until, queue, result FROM results WHERE job > :job AND job <= :last ORDER BY job LIMIT :limit;

-- name: export_progress
SELECT job, data FROM progress WHERE job > :job AND job <= :last ORDER BY job LIMIT :limit;

-- name: export_batches
SELECT id, queue, sealed, total, completed, failed, cancelled, done_at
  FROM batches WHERE id > :id AND id <= :last ORDER BY id LIMIT :limit;

-- name: export_pauses
SELECT queue, name FROM pauses WHERE (queue, name) > (:queue, :name) ORDER BY queue, name LIMIT :limit;

-- name: export_schedules
SELECT queue, name, spec, next_at, last_at, last_job, paused
  FROM schedules WHERE (queue, name) > (:queue, :name) ORDER BY queue, name LIMIT :limit;

-- name: export_taken_keys
SELECT queue, name, key, job, until
  FROM taken_keys WHERE (queue, name, key) > (:queue, :name, :key) ORDER BY queue, name, key LIMIT :limit;

-- name: export_starts
SELECT queue, lane, at, count(*)
  FROM starts WHERE (queue, lane, at) > (:queue, :lane, :at)
 GROUP BY queue, lane, at ORDER BY queue, lane, at LIMIT :limit;

-- name: export_closed_lanes
SELECT queue, lane, most, opens_at
  FROM closed_lanes WHERE (queue, lane) > (:queue, :lane) ORDER BY queue, lane LIMIT :limit;

-- name: export_figures
SELECT span, start, queue, name, completed, failed, retried, cancelled, lost, wait_sum, wait_max, run_sum, run_max,
       wait_buckets, run_buckets, waiting, oldest, noted_at
  FROM figures WHERE (span, start, queue, name) > (:span, :start, :queue, :name)
 ORDER BY span, start, queue, name LIMIT :limit;

-- name: import_jobs
INSERT INTO jobs (id, queue, name, status, ready, special, priority, position, run_at, pushed_at, backoff, attempt,
                  retry_count, lost, cancel_requested, runner, lease_until, settled_at, message, headers, data)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: import_completed
WITH r (id, queue, name, priority, run_at, pushed_at, claimed_at, settled_at, attempt, retry_count, backoff, lost, runner,
        spec, headers, data) AS (VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?))
INSERT INTO completed (id, queue, name, priority, run_at, pushed_at, claimed_at, settled_at, attempt, retry_count,
                       backoff, lost, runner, spec, headers, data, batch)
SELECT r.*, json_extract(spec, '$.batch') FROM r;

-- name: import_payloads
INSERT INTO payloads (job, data) VALUES (?, ?);

-- name: import_terms
INSERT INTO terms (job, queue, name, spec, is_open, runs, kept_by, priority, position, key, expires_at, limit_lane,
                   rate_lane, order_lane, batch, follows, follows_batch)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: import_attempts
INSERT INTO attempts (job, attempt, runner, started_at, duration, outcome, error, traceback)
VALUES (?, ?, ?, ?, ?, ?, ?, ?);

-- name: import_results
INSERT INTO results (job, until, queue, result) VALUES (?, ?, ?, ?);

-- name: import_progress
INSERT INTO progress (job, data) VALUES (?, ?);

-- name: import_batches
INSERT INTO batches (id, queue, sealed, total, completed, failed, cancelled, done_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?);

-- name: import_pauses
INSERT INTO pauses (queue, name) VALUES (?, ?);

-- name: import_schedules
INSERT INTO schedules (queue, name, spec, next_at, last_at, last_job, paused) VALUES (?, ?, ?, ?, ?, ?, ?);

-- name: import_taken_keys
INSERT INTO taken_keys (queue, name, key, job, until) VALUES (?, ?, ?, ?, ?);

-- name: import_starts
INSERT INTO starts (queue, lane, at) VALUES (?, ?, ?);

-- name: import_closed_lanes
INSERT INTO closed_lanes (queue, lane, most, opens_at) VALUES (?, ?, ?, ?);

-- name: import_figures
INSERT INTO figures (span, start, queue, name, completed, failed, retried, cancelled, lost, wait_sum, wait_max, run_sum,
                     run_max, wait_buckets, run_buckets, waiting, oldest, noted_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: count_jobs
SELECT count(*) FROM jobs WHERE id > :id AND id <= :last;

-- name: drop_jobs
-- The triggers take payloads and attempts along.
DELETE FROM jobs WHERE id <= :last_job;

-- name: drop_completed
DELETE FROM completed WHERE id <= :last_job;

-- name: drop_attempts
DELETE FROM attempts WHERE job <= :last_job;

-- name: drop_all_terms
DELETE FROM terms WHERE job <= :last_job;

-- name: drop_results
DELETE FROM results WHERE job <= :last_job;

-- name: drop_progress
DELETE FROM progress WHERE job <= :last_job;

-- name: drop_batches
DELETE FROM batches WHERE id <= :last_batch;

-- name: drop_pauses
DELETE FROM pauses;

-- name: drop_schedules
DELETE FROM schedules;

-- name: drop_taken_keys
DELETE FROM taken_keys;

-- name: drop_starts
DELETE FROM starts;

-- name: drop_closed_lanes
DELETE FROM closed_lanes;

-- name: drop_figures
DELETE FROM figures;
