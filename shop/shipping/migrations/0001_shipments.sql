-- +goose Up
-- One row an order; CANCELLED without a tracking number may be the tombstone
-- of a CancelBooking that came before its Book.
CREATE TABLE shipments (
    order_id   TEXT PRIMARY KEY,
    state      TEXT NOT NULL,
    tracking   TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
