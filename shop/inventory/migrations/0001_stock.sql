-- +goose Up
CREATE TABLE stock (
    product_id TEXT PRIMARY KEY,
    on_hand    BIGINT NOT NULL CHECK (on_hand >= 0),
    reserved   BIGINT NOT NULL CHECK (reserved >= 0),
    shipped    BIGINT NOT NULL CHECK (shipped >= 0),
    initial    BIGINT NOT NULL
);

-- One row an order; a row in state RELEASED without items is the tombstone of
-- a Release that came before its Reserve.
CREATE TABLE reservations (
    order_id TEXT PRIMARY KEY,
    state    TEXT NOT NULL CHECK (state IN ('RESERVED', 'RELEASED', 'COMMITTED', 'RETURNED')),
    at       BIGINT NOT NULL
);
CREATE INDEX reservations_by_state ON reservations (state);

CREATE TABLE reservation_items (
    order_id   TEXT NOT NULL,
    product_id TEXT NOT NULL,
    quantity   BIGINT NOT NULL CHECK (quantity > 0),
    PRIMARY KEY (order_id, product_id)
);

-- The journal: every movement, never changed.
CREATE TABLE movements (
    order_id   TEXT NOT NULL,
    kind       TEXT NOT NULL,
    product_id TEXT NOT NULL,
    quantity   BIGINT NOT NULL,
    at         BIGINT NOT NULL,
    PRIMARY KEY (order_id, kind, product_id)
);
