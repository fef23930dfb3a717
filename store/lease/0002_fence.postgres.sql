-- The epoch is part of a key, so an UPDATE that raises it waits for every
-- transaction that has the row FOR KEY SHARE, and one that only moves
-- expires_at waits for nobody.

-- +goose Up
CREATE UNIQUE INDEX argosy_leases_fence ON argosy_leases (name, epoch);

-- +goose Down
DROP INDEX argosy_leases_fence;
