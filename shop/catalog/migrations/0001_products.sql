-- +goose Up
CREATE TABLE products (
    id            TEXT PRIMARY KEY,
    name          TEXT NOT NULL,
    category      TEXT NOT NULL,
    emoji         TEXT NOT NULL,
    description   TEXT NOT NULL,
    currency      TEXT NOT NULL,
    price         BIGINT NOT NULL CHECK (price > 0),
    price_version BIGINT NOT NULL
);
CREATE INDEX products_by_name ON products (name, id);
