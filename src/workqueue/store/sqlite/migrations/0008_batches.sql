-- The jobs of a batch in their order, whatever became of them. is_open stands before the job: who cancels a batch looks
-- at none that is over.
DROP INDEX terms_of_batch;
CREATE INDEX terms_of_batch ON terms (batch, is_open, job) WHERE batch IS NOT NULL;  -- find, cancel

-- As its spec says: an index over that would need a function, which a file that is opened as not trusted may not call.
ALTER TABLE completed ADD COLUMN batch INTEGER;
UPDATE completed SET batch = json_extract(spec, '$.batch') WHERE spec IS NOT NULL;
CREATE INDEX completed_of_batch ON completed (batch, id) WHERE batch IS NOT NULL;  -- find
