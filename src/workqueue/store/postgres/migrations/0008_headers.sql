-- What observers gave a job for its way, as the context of a trace: an object of texts, as JSON; NULL where there is none.
-- Programs of the version before go on: they push jobs without, and drop those of jobs that they complete and keep.
ALTER TABLE workqueue.jobs ADD COLUMN headers text;
ALTER TABLE workqueue.completed ADD COLUMN headers text;
