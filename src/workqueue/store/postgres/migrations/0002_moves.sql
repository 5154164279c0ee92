-- Where the jobs of this schema go: done_at is NULL while `workqueue copy` is at it. The triggers that refuse new work
-- meanwhile, and afterwards, stand among the statements.
CREATE TABLE workqueue.moves (
    move     text   NOT NULL PRIMARY KEY,
    target   text   NOT NULL,
    begun_at bigint NOT NULL,
    done_at  bigint
);

-- What is copied into this schema, and how far: step is the table, after the key of the last row of it, as
-- JSON. move: which move of the source it is; '' for a snapshot of one that goes on.
CREATE TABLE workqueue.copies (
    source_id  text   NOT NULL PRIMARY KEY,
    source     text   NOT NULL,
    move       text   NOT NULL,
    step       text   NOT NULL,
    after      text   NOT NULL,
    last_job   bigint NOT NULL,
    last_batch bigint NOT NULL,
    begun_at   bigint NOT NULL,
    done_at    bigint
);

CREATE FUNCTION workqueue.refuse_moved() RETURNS trigger LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'WQ001', MESSAGE = 'closed by workqueue copy';
END $$;

-- The oldest version of the tables whose programs may still use these.
ALTER TABLE workqueue.meta ADD COLUMN oldest int NOT NULL DEFAULT 1;
