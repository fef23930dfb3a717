-- +goose Up

-- The replies that were given to idempotency keys.
CREATE TABLE argosy_idempotency (
	caller      TEXT    NOT NULL,
	method      TEXT    NOT NULL,
	idem_key    TEXT    NOT NULL,
	fingerprint BYTEA   NOT NULL,
	code        INTEGER NOT NULL,
	reply_type  TEXT    NOT NULL,
	reply       BYTEA   NOT NULL,
	at          BIGINT  NOT NULL,
	PRIMARY KEY (caller, method, idem_key)
);
CREATE INDEX argosy_idempotency_at ON argosy_idempotency (at);
