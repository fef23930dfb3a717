-- +goose Up
ALTER TABLE argosy_saga_runs ADD COLUMN moves BIGINT NOT NULL DEFAULT 0; -- transitions that its holders have stored

-- +goose Down
ALTER TABLE argosy_saga_runs DROP COLUMN moves;
