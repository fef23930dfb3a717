// Package identity knows who people are: it checks passwords, gives out
// short-lived tokens, and API keys for the machines of those people.
//
//	argosy.Main(all.Engines(), identity.Service)
package identity

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/argosy-go/argosy"
	"github.com/argosy-go/argosy/auth"
	"github.com/argosy-go/argosy/auth/apikey"
	"github.com/argosy-go/argosy/fault"
	identitypb "github.com/argosy-go/argosy/shop/gen/identity/v1"
	"github.com/argosy-go/argosy/store"
)

//go:embed migrations/*.sql
var files embed.FS

// Service is the identity service.
var Service = argosy.Service{Name: "identity", Setup: setup}

type identity struct {
	identitypb.UnimplementedIdentityServer
	cfg struct {
		DevUsers    bool          `default:"true" usage:"make the users customer@shop.test and support@shop.test"`
		DevPassword string        `env:"ARGOSY_SHOP_DEV_PASSWORD" secret:"true" usage:"their password (default: random for each data directory)"`
		SessionTime time.Duration `default:"1h" usage:"how long a token is valid"`
	}
	setup     *argosy.Setup
	db        *store.DB
	passwords *auth.Passwords
	keys      *apikey.Keys
}

func setup(s *argosy.Setup) error {
	i := &identity{setup: s, db: s.DB(files), passwords: auth.NewPasswords(auth.PasswordConfig{}), keys: apikey.Declare(s)}
	s.Config(&i.cfg)
	s.OnStart("make the users of development", i.makeDevUsers)
	identitypb.RegisterIdentityServer(s, i)
	return nil
}

// user is a row of the table users.
type user struct {
	id, email, password string
	roles               []string
}

var errSignIn = fault.New(codes.Unauthenticated, "WRONG_CREDENTIALS", "the email or the password is wrong")

const (
	maxEmail    = 254 // RFC 5321
	maxPassword = 256
)

// CreateSession implements identitypb.IdentityServer. Whether the email or the
// password is wrong cannot be told from the answer, nor from its time.
func (i *identity) CreateSession(ctx context.Context, req *identitypb.CreateSessionRequest) (*identitypb.Session, error) {
	switch {
	case req.Email == "" || len(req.Email) > maxEmail:
		return nil, fault.Invalid("email", "an address of at most %d bytes is needed", maxEmail)
	case req.Password == "" || len(req.Password) > maxPassword:
		return nil, fault.Invalid("password", "a password of at most %d bytes is needed", maxPassword)
	}
	u, err := i.find(ctx, "email", strings.ToLower(strings.TrimSpace(req.Email)))
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return nil, err
	}
	ok, err := i.passwords.Verify(ctx, u.password, req.Password) // an unknown user takes as long
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, errSignIn
	}
	token, expires, err := i.setup.Signer().Sign(auth.Principal{Subject: u.id, Roles: u.roles}, i.cfg.SessionTime)
	if err != nil {
		return nil, err
	}
	return &identitypb.Session{Token: token, ExpireTime: timestamppb.New(expires)}, nil
}

// GetMe implements identitypb.IdentityServer.
func (i *identity) GetMe(ctx context.Context, _ *identitypb.GetMeRequest) (*identitypb.User, error) {
	p, _ := auth.From(ctx)
	u, err := i.find(ctx, "id", p.Subject)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, fault.New(codes.NotFound, "USER_NOT_FOUND", "there is no user %q", p.Subject)
	}
	return &identitypb.User{Id: u.id, Email: u.email, Roles: u.roles}, err
}

// find returns the user whose column has the value. The column is ours.
func (i *identity) find(ctx context.Context, column, value string) (user, error) {
	var u user
	err := i.db.Read(ctx, func(ctx context.Context, q store.Querier) error {
		var roles string
		err := q.QueryRowContext(ctx, "SELECT id, email, password, roles FROM users WHERE "+column+" = $1", value).
			Scan(&u.id, &u.email, &u.password, &roles)
		u.roles = strings.Fields(roles)
		return err
	})
	return u, err
}
