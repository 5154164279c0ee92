-- Since when a job runs: written by the first beat after its claim, so that a claim writes nothing for it. Until then its
-- lease tells, which began with the claim.
ALTER TABLE jobs ADD COLUMN claimed_at INTEGER;
