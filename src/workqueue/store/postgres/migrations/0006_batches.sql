-- The jobs of a batch in their order, whatever became of them. is_open stands before the job: who cancels a batch looks
-- at none that is over.
DROP INDEX workqueue.terms_of_batch;
CREATE INDEX terms_of_batch ON workqueue.terms (batch, is_open, job) WHERE batch IS NOT NULL;  -- find, cancel

-- Found in the spec, so that programs of the version before, which go on, need know nothing of it. Within a text of it
-- the quotes have backslashes before them, so it finds the member alone; to read it all as JSON would refuse some.
CREATE INDEX completed_of_batch ON workqueue.completed ((substring(spec from '"batch":(\d+)')::bigint), id)  -- find
 WHERE substring(spec from '"batch":(\d+)')::bigint IS NOT NULL;
