-- +goose Up
CREATE TABLE argosy_saga_runs (
    saga        TEXT   NOT NULL,
    id          TEXT   NOT NULL,
    status      TEXT   NOT NULL, -- forward, backward, completed, compensated, parked
    step        TEXT   NOT NULL, -- the step whose intent is stored; '' when only the end is left
    attempt     BIGINT NOT NULL, -- attempts of the step that failed
    doubt       BIGINT NOT NULL, -- 1: an attempt of the step may have had its effect
    gen         BIGINT NOT NULL, -- key generation of the step
    done        TEXT   NOT NULL, -- the steps done and not undone, in order, with commas
    state       BLOB   NOT NULL,
    pivoted     BIGINT NOT NULL, -- 1: the pivot's intent is stored, no cancel any more
    cancel      BIGINT NOT NULL, -- 1: a cancel was accepted
    holder      TEXT   NOT NULL, -- the instance that works on the run; '' for nobody
    epoch       BIGINT NOT NULL, -- raised by every claim: the fence of all writes
    due         BIGINT,          -- when the run is to be claimed; NULL while held or ended
    wake        BIGINT NOT NULL, -- the end of the sleep or of the wait for a signal
    waits       TEXT   NOT NULL, -- the signal waited for
    cause       TEXT   NOT NULL, -- why the run is compensated, as JSON
    error       TEXT   NOT NULL, -- the last error of the step, as JSON
    resumes     TEXT   NOT NULL, -- the status that a parked run had
    events      BIGINT NOT NULL, -- number of history entries written
    traceparent TEXT   NOT NULL,
    created     BIGINT NOT NULL,
    updated     BIGINT NOT NULL,
    ended       BIGINT NOT NULL,
    PRIMARY KEY (saga, id)
);
CREATE INDEX argosy_saga_runs_due ON argosy_saga_runs (due) WHERE due IS NOT NULL;
CREATE INDEX argosy_saga_runs_holder ON argosy_saga_runs (holder) WHERE holder <> '';
CREATE INDEX argosy_saga_runs_parked ON argosy_saga_runs (saga) WHERE status = 'parked';

CREATE TABLE argosy_saga_signals (
    saga    TEXT   NOT NULL,
    id      TEXT   NOT NULL,
    n       BIGINT NOT NULL,
    name    TEXT   NOT NULL,
    payload BLOB   NOT NULL, -- a google.protobuf.Any
    at      BIGINT NOT NULL,
    PRIMARY KEY (saga, id, n)
);

-- The last entries of each run: slot is the entry's number modulo the bound.
CREATE TABLE argosy_saga_history (
    saga   TEXT   NOT NULL,
    id     TEXT   NOT NULL,
    slot   BIGINT NOT NULL,
    n      BIGINT NOT NULL,
    at     BIGINT NOT NULL,
    kind   TEXT   NOT NULL,
    step   TEXT   NOT NULL,
    detail TEXT   NOT NULL,
    PRIMARY KEY (saga, id, slot)
);

-- One row an instance that holds runs: the lease of all of them.
CREATE TABLE argosy_saga_holders (
    holder TEXT   PRIMARY KEY,
    until  BIGINT NOT NULL
);

-- +goose Down
DROP TABLE argosy_saga_holders;
DROP TABLE argosy_saga_history;
DROP TABLE argosy_saga_signals;
DROP TABLE argosy_saga_runs;
