-- What observers gave a job for its way, as the context of a trace: an object of texts, as JSON; NULL where there is none.
ALTER TABLE jobs ADD COLUMN headers TEXT;
ALTER TABLE completed ADD COLUMN headers TEXT;
