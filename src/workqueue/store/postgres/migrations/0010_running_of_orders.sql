-- Whether a job of an order runs, without a look at all of it that wait.
CREATE INDEX terms_order_running ON workqueue.terms (queue, order_lane, job)  -- is_behind, ahead
 WHERE order_lane IS NOT NULL AND runs;
