-- +goose Up
CREATE TABLE argosy_leases (
    name       TEXT   NOT NULL PRIMARY KEY,
    holder     TEXT   NOT NULL, -- '' when nobody holds it
    epoch      BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);

-- +goose Down
DROP TABLE argosy_leases;
