-- +goose Up
-- One row an order; VOIDED without an amount is the tombstone of a Void that
-- came before its Authorize.
CREATE TABLE intents (
    order_id   TEXT PRIMARY KEY,
    state      TEXT NOT NULL,
    currency   TEXT NOT NULL,
    amount     BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

-- Double entry: the postings of each kind for an order add up to nothing.
CREATE TABLE postings (
    order_id TEXT NOT NULL,
    kind     TEXT NOT NULL,
    account  TEXT NOT NULL,
    amount   BIGINT NOT NULL,
    at       BIGINT NOT NULL,
    PRIMARY KEY (order_id, kind, account)
);

-- What the bank told by webhook, each notice once.
CREATE TABLE bank_notices (
    id       TEXT PRIMARY KEY,
    kind     TEXT NOT NULL,
    order_id TEXT NOT NULL,
    at       BIGINT NOT NULL
);
