-- +goose Up
-- What products cost in other currencies than that of the shop's home, whose
-- price stays with the product: the release before reads it there.
CREATE TABLE further_prices (
    product_id TEXT NOT NULL,
    currency   TEXT NOT NULL,
    price      BIGINT NOT NULL CHECK (price > 0),
    version    BIGINT NOT NULL,
    PRIMARY KEY (product_id, currency)
);
