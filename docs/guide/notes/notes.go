// Package notes is a service with a call of each kind. The guide's clients of
// other makers call it.
//
//	argosy.Main(embedded.Engines(), notes.Service)
package notes

import (
	"context"
	"embed"
	"errors"
	"io"
	"strconv"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/argosy-go/argosy"
	pb "github.com/argosy-go/argosy/docs/guide/notes/notespb"
	"github.com/argosy-go/argosy/fault"
	"github.com/argosy-go/argosy/idempotency"
	"github.com/argosy-go/argosy/store"
)

//go:embed migrations/*.sql
var files embed.FS

// Most is how many notes there is room for.
const Most = 3

var errFull = fault.New(codes.FailedPrecondition, "NOTEBOOK_FULL", "the notebook is full").
	WithMetadata("most", strconv.Itoa(Most)).WithRetryAfter(time.Minute)

// Service keeps notes.
var Service = argosy.Service{Name: "notes", Setup: func(s *argosy.Setup) error {
	pb.RegisterNotesServer(s, &server{db: s.DB(files)})
	return nil
}}

type server struct {
	pb.UnimplementedNotesServer
	db      *store.DB
	waiting atomic.Int32
}

// Add implements the contract.
func (n *server) Add(ctx context.Context, req *pb.AddRequest) (*pb.Note, error) {
	if req.Text == "" {
		return nil, fault.Invalid("text", "must not be empty")
	}
	return idempotency.Do(ctx, n.db, req, func(ctx context.Context, tx *store.Tx) (*pb.Note, error) {
		note := &pb.Note{Text: req.Text}
		if err := tx.QueryRowContext(ctx, `SELECT count(*) + 1 FROM notes`).Scan(&note.Id); err != nil {
			return nil, err
		}
		if note.Id > Most {
			return nil, errFull
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO notes VALUES ($1, $2)`, note.Id, note.Text)
		return note, err
	})
}

// List implements the contract.
func (n *server) List(_ *pb.ListRequest, out grpc.ServerStreamingServer[pb.Note]) error {
	var notes []*pb.Note // a reader that is slow holds up no transaction
	err := n.db.Read(out.Context(), func(ctx context.Context, q store.Querier) error {
		rows, err := q.QueryContext(ctx, `SELECT id, text FROM notes ORDER BY id`)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			note := &pb.Note{}
			if err := rows.Scan(&note.Id, &note.Text); err != nil {
				return err
			}
			notes = append(notes, note)
		}
		return rows.Err()
	})
	for _, note := range notes {
		err = errors.Join(err, out.Send(note))
	}
	return err
}

// Echo implements the contract.
func (n *server) Echo(both grpc.BidiStreamingServer[pb.Line, pb.Line]) error {
	for {
		line, err := both.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := both.Send(line); err != nil {
			return err
		}
	}
}

// Wait implements the contract.
func (n *server) Wait(ctx context.Context, _ *pb.WaitRequest) (*pb.WaitResponse, error) {
	n.waiting.Add(1)
	defer n.waiting.Add(-1)
	<-ctx.Done()
	return nil, ctx.Err()
}

// Waiting implements the contract.
func (n *server) Waiting(context.Context, *pb.WaitingRequest) (*pb.WaitingResponse, error) {
	return &pb.WaitingResponse{Callers: n.waiting.Load()}, nil
}
