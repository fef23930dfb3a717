-- +goose Up
ALTER TABLE argosy_saga_runs ADD COLUMN version TEXT NOT NULL DEFAULT '';     -- of the list that worked on it last
ALTER TABLE argosy_saga_runs ADD COLUMN choices TEXT NOT NULL DEFAULT '';     -- what When and Each have decided, as JSON
ALTER TABLE argosy_saga_runs ADD COLUMN deadline BIGINT NOT NULL DEFAULT 0;   -- of the run; 0: none; negative: it has passed and was told
ALTER TABLE argosy_saga_runs ADD COLUMN begun BIGINT NOT NULL DEFAULT 0;      -- when the step's intent was stored
ALTER TABLE argosy_saga_runs ADD COLUMN crashes BIGINT NOT NULL DEFAULT 0;    -- how often a process ended while it took the step
CREATE INDEX argosy_saga_runs_created ON argosy_saga_runs (created, saga, id);

ALTER TABLE argosy_saga_history ADD COLUMN attempt BIGINT NOT NULL DEFAULT 0;
ALTER TABLE argosy_saga_history ADD COLUMN actor TEXT NOT NULL DEFAULT '';
ALTER TABLE argosy_saga_history ADD COLUMN reason TEXT NOT NULL DEFAULT '';

-- The lists that programs have had: a program claims runs of those that were
-- there when it started, and leaves those of later ones alone.
CREATE TABLE argosy_saga_versions (
    saga    TEXT   NOT NULL,
    version TEXT   NOT NULL,
    at      BIGINT NOT NULL,
    PRIMARY KEY (saga, version)
);

-- +goose Down
DROP TABLE argosy_saga_versions;
ALTER TABLE argosy_saga_history DROP COLUMN reason;
ALTER TABLE argosy_saga_history DROP COLUMN actor;
ALTER TABLE argosy_saga_history DROP COLUMN attempt;
DROP INDEX argosy_saga_runs_created;
ALTER TABLE argosy_saga_runs DROP COLUMN crashes;
ALTER TABLE argosy_saga_runs DROP COLUMN begun;
ALTER TABLE argosy_saga_runs DROP COLUMN deadline;
ALTER TABLE argosy_saga_runs DROP COLUMN choices;
ALTER TABLE argosy_saga_runs DROP COLUMN version;
