-- +goose Up

-- The API keys that were given out. What is kept of a key is its hash.
CREATE TABLE argosy_api_keys (
	id      TEXT   PRIMARY KEY,
	hash    BLOB   NOT NULL,
	subject TEXT   NOT NULL,
	roles   TEXT   NOT NULL,
	name    TEXT   NOT NULL,
	made    BIGINT NOT NULL,
	expires BIGINT NOT NULL,
	revoked BIGINT NOT NULL,
	used    BIGINT NOT NULL
);
CREATE INDEX argosy_api_keys_subject ON argosy_api_keys (subject, made);
