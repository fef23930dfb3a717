-- +goose Up

-- The replicas of the service that are at work, each until it says so again.
CREATE TABLE argosy_event_replicas (
	instance TEXT   NOT NULL PRIMARY KEY,
	expires  BIGINT NOT NULL
);

-- The positions that operators asked consumers to go back to.
CREATE TABLE argosy_event_rewinds (
	consumer TEXT    NOT NULL,
	part     INTEGER NOT NULL,
	start_at BIGINT  NOT NULL,
	PRIMARY KEY (consumer, part)
);

-- What operators did, when and why.
CREATE TABLE argosy_event_audit (
	seq        INTEGER PRIMARY KEY,
	at         BIGINT NOT NULL,
	actor      TEXT   NOT NULL,
	action     TEXT   NOT NULL,
	consumer   TEXT   NOT NULL,
	id         TEXT   NOT NULL,
	event_key  TEXT   NOT NULL,
	event_type TEXT   NOT NULL,
	reason     TEXT   NOT NULL
);

-- The error of a dead letter, for programs: those of the release before have neither.
ALTER TABLE argosy_dead_letters ADD COLUMN code TEXT NOT NULL DEFAULT '';
ALTER TABLE argosy_dead_letters ADD COLUMN reason TEXT NOT NULL DEFAULT '';
