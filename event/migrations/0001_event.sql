-- +goose Up

-- What is committed and not yet acknowledged by the broker, in order.
CREATE TABLE argosy_outbox (
	seq        INTEGER PRIMARY KEY,
	id         TEXT    NOT NULL,
	topic      TEXT    NOT NULL,
	part       INTEGER NOT NULL,
	event_key  TEXT    NOT NULL,
	event_type TEXT    NOT NULL,
	at         BIGINT  NOT NULL,
	expires    BIGINT  NOT NULL,
	trace      TEXT    NOT NULL,
	body       BLOB    NOT NULL
);

-- What each consumer has dealt with; kept longer than a broker can replay.
CREATE TABLE argosy_inbox (
	consumer TEXT   NOT NULL,
	id       TEXT   NOT NULL,
	at       BIGINT NOT NULL,
	PRIMARY KEY (consumer, id)
) WITHOUT ROWID;
CREATE INDEX argosy_inbox_at ON argosy_inbox (at);

-- What failed and will be tried again, and what waits behind it for its key.
CREATE TABLE argosy_inbox_pending (
	seq        INTEGER PRIMARY KEY,
	consumer   TEXT    NOT NULL,
	id         TEXT    NOT NULL,
	topic      TEXT    NOT NULL,
	part       INTEGER NOT NULL,
	event_key  TEXT    NOT NULL,
	attempts   INTEGER NOT NULL,
	due        BIGINT  NOT NULL,
	error      TEXT    NOT NULL,
	header     TEXT    NOT NULL,
	body       BLOB    NOT NULL,
	at         BIGINT  NOT NULL,
	UNIQUE (consumer, id)
);
CREATE INDEX argosy_inbox_pending_key ON argosy_inbox_pending (consumer, event_key, seq);

-- What a consumer gave up on, kept until somebody replays or discards it.
CREATE TABLE argosy_dead_letters (
	seq        INTEGER PRIMARY KEY,
	consumer   TEXT    NOT NULL,
	id         TEXT    NOT NULL,
	topic      TEXT    NOT NULL,
	part       INTEGER NOT NULL,
	event_key  TEXT    NOT NULL,
	event_type TEXT    NOT NULL,
	attempts   INTEGER NOT NULL,
	error      TEXT    NOT NULL,
	header     TEXT    NOT NULL,
	body       BLOB    NOT NULL,
	at         BIGINT  NOT NULL,
	UNIQUE (consumer, id)
);
