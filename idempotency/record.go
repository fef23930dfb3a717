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

// save stores the record of the scope.
func (r *record) save(ctx context.Context, tx *store.Tx, s scope, now time.Time) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO argosy_idempotency
		(caller, method, idem_key, fingerprint, code, reply_type, reply, at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
		s.caller, s.method, s.key, r.fingerprint, int64(r.code), r.kind, r.reply, store.At(now))
	if err != nil {
		return fmt.Errorf("store the reply to an idempotency key: %w", err)
	}
	return nil
}
