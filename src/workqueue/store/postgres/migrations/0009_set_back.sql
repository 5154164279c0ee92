-- When a key was taken, and a lane closed, by the clock as it was: where that is to come yet, the clock was set back since,
-- and what was to end so long after would end far too late. 0: by a program of the version before, which does not say.
ALTER TABLE workqueue.taken_keys ADD COLUMN taken_at bigint NOT NULL DEFAULT 0;
CREATE INDEX taken_keys_taken ON workqueue.taken_keys (taken_at);  -- restart_windows
ALTER TABLE workqueue.closed_lanes ADD COLUMN closed_at bigint NOT NULL DEFAULT 0;
CREATE INDEX closed_lanes_closed ON workqueue.closed_lanes (closed_at);  -- reopen_lanes
