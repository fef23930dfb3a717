-- +goose Up
CREATE TABLE orders (
    id            TEXT PRIMARY KEY,
    customer_id   TEXT NOT NULL,
    -- The idempotency key of the request that placed it. Not unique on purpose:
    -- that one key makes one order is what the framework promises, and the
    -- audit counts.
    request_key   TEXT NOT NULL,
    state         BIGINT NOT NULL,
    currency      TEXT NOT NULL,
    total         BIGINT NOT NULL,
    prices_as_of  BIGINT NOT NULL,
    delivered     BIGINT NOT NULL DEFAULT 0,
    cancel_reason TEXT NOT NULL DEFAULT '',
    cancelling    BIGINT NOT NULL DEFAULT 0,
    version       BIGINT NOT NULL,
    created_at    BIGINT NOT NULL,
    updated_at    BIGINT NOT NULL
);
CREATE INDEX orders_by_customer ON orders (customer_id, id);

CREATE TABLE order_lines (
    order_id   TEXT NOT NULL,
    position   BIGINT NOT NULL,
    product_id TEXT NOT NULL,
    name       TEXT NOT NULL,
    quantity   BIGINT NOT NULL,
    unit_price BIGINT NOT NULL,
    PRIMARY KEY (order_id, position)
);

CREATE TABLE order_changes (
    order_id TEXT NOT NULL,
    version  BIGINT NOT NULL,
    at       BIGINT NOT NULL,
    state    BIGINT NOT NULL,
    detail   TEXT NOT NULL,
    PRIMARY KEY (order_id, version)
);

-- The last price that was heard of each product, for when the catalog is away.
CREATE TABLE prices (
    product_id TEXT PRIMARY KEY,
    name       TEXT NOT NULL,
    currency   TEXT NOT NULL,
    amount     BIGINT NOT NULL,
    version    BIGINT NOT NULL,
    at         BIGINT NOT NULL
);
