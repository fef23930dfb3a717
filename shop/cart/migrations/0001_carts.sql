-- +goose Up
CREATE TABLE cart_items (
    customer_id TEXT NOT NULL,
    product_id  TEXT NOT NULL,
    quantity    BIGINT NOT NULL CHECK (quantity > 0),
    added_at    BIGINT NOT NULL,
    PRIMARY KEY (customer_id, product_id)
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
