package idempotency

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/argosy-go/argosy/fault"
	"github.com/argosy-go/argosy/store"
)

// ErrKeyReused: the key came with another request before.
var ErrKeyReused = fault.New(codes.InvalidArgument, fault.ReasonKeyReused, "the idempotency key was used for another request").Refused()

// record is a stored reply: the bytes of a message, or of a google.rpc.Status
// where code is not OK.
type record struct {
	fingerprint []byte
	code        codes.Code
	kind        string
	reply       []byte
}

// isFact reports whether an error says something about the domain that asking
// again cannot change, and that is therefore a reply.
func isFact(err error) bool {
	switch fault.CodeOf(err) {
	case codes.NotFound, codes.AlreadyExists, codes.FailedPrecondition, codes.OutOfRange:
		return true
	}
	return false
}

// newRecord returns what is stored for a reply or a fact.
func newRecord(fingerprint []byte, reply proto.Message, fact error) (*record, error) {
	r := &record{fingerprint: fingerprint}
	if fact != nil {
		s := fault.From(fact).GRPCStatus()
		r.code, reply = s.Code(), s.Proto()
	}
	var err error
	r.kind = string(reply.ProtoReflect().Descriptor().FullName())
	if r.reply, err = (proto.MarshalOptions{Deterministic: true}).Marshal(reply); err != nil {
		return nil, fmt.Errorf("encode the reply: %w", err)
	}
	if r.reply == nil {
		r.reply = []byte{}
	}
	return r, nil
}

// into gives the record as the reply to a request with that fingerprint.
func (r *record) into(fingerprint []byte, reply proto.Message) error {
	if !bytes.Equal(r.fingerprint, fingerprint) {
		return ErrKeyReused
	}
	if r.code != codes.OK {
		s := status.New(codes.Unknown, "").Proto()
		if err := proto.Unmarshal(r.reply, s); err != nil {
			return fmt.Errorf("decode a stored error: %w", err)
		}
		return fault.FromStatus(status.FromProto(s))
	}
	if name := string(reply.ProtoReflect().Descriptor().FullName()); name != r.kind {
		return fmt.Errorf("the stored reply is a %s and not a %s", r.kind, name)
	}
	if err := proto.Unmarshal(r.reply, reply); err != nil {
		return fmt.Errorf("decode a stored reply: %w", err)
	}
	return nil
}

// load returns the record of the scope, or nil.
func load(ctx context.Context, tx *store.Tx, s scope) (*record, error) {
	var r record
	err := tx.QueryRowContext(ctx, `SELECT fingerprint, code, reply_type, reply FROM argosy_idempotency
		WHERE caller = $1 AND method = $2 AND idem_key = $3`, s.caller, s.method, s.key).
		Scan(&r.fingerprint, &r.code, &r.kind, &r.reply)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for the reply to an idempotency key: %w", err)
	}
	return &r, nil
}

// place is where a row lies in its table, while the transaction that inserted
// it lasts.
type place string

// placeOf returns the name under which a store tells the place of a row.
func placeOf(d store.Dialect) string {
	if d == store.Postgres {
		return "ctid"
	}
	return "rowid"
}

// reserve inserts the row of the scope, without its reply. It waits for another
// transaction that has done so, and reports false when that one committed.
//
// So copies of a request at other replicas wait before they do the work. And
// nobody looks for a row that is not there, which a serializable transaction on
// Postgres would be held to: with everyone who inserts next to it, in conflict.
func reserve(ctx context.Context, tx *store.Tx, s scope, fingerprint []byte, now time.Time) (at place, reserved bool, err error) {
	err = tx.QueryRowContext(ctx, `INSERT INTO argosy_idempotency
		(caller, method, idem_key, fingerprint, code, reply_type, reply, at) VALUES ($1, $2, $3, $4, $5, '', $6, $7)
		ON CONFLICT DO NOTHING RETURNING CAST(`+placeOf(tx.Dialect())+` AS TEXT)`,
		s.caller, s.method, s.key, fingerprint, int64(codes.Unknown), []byte{}, store.At(now)).Scan(&at)
	if errors.Is(err, sql.ErrNoRows) {
		return "", false, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("reserve an idempotency key: %w", err)
	}
	return at, true, nil
}

// save puts the record into the row that was reserved. It goes to the row's
// place: the way through the index would be a look at its neighbours.
func (r *record) save(ctx context.Context, tx *store.Tx, at place) error {
	cast := "INTEGER"
	if tx.Dialect() == store.Postgres {
		cast = "tid"
	}
	_, err := tx.ExecContext(ctx, `UPDATE argosy_idempotency SET code = $1, reply_type = $2, reply = $3
		WHERE `+placeOf(tx.Dialect())+` = CAST($4 AS `+cast+`)`, int64(r.code), r.kind, r.reply, string(at))
	if err != nil {
		return fmt.Errorf("store the reply to an idempotency key: %w", err)
	}
	return nil
}
