-- What a runner says of itself. lease: how long it leases jobs for; knows: the names that it can run, as JSON, NULL where
-- it takes any.
ALTER TABLE workqueue.runners ADD COLUMN lease bigint, ADD COLUMN knows text;
