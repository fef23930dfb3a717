package apikey

import (
	"context"
	"crypto/subtle"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/argosy-go/argosy/auth"
	"github.com/argosy-go/argosy/auth/apikey/internal/apikeypb"
	"github.com/argosy-go/argosy/fault"
	"github.com/argosy-go/argosy/service"
	"github.com/argosy-go/argosy/store"
)

//go:embed migrations
var migrations embed.FS

const (
	maxName  = 100
	maxRoles = 1024 // bytes of them, with a space between

	flushGap = time.Minute
)

// ErrNotFound: the subject has no key of that id.
var ErrNotFound = fault.New(codes.NotFound, "API_KEY_NOT_FOUND", "there is no such API key")

// Keys are the API keys that one service keeps for its fleet. It is an
// [auth.APIKeyKeeper], and safe for concurrent use.
type Keys struct {
	db  *store.DB
	now func() time.Time

	mu   sync.Mutex
	used map[string]time.Time // since the last flush
}

// Declare makes the service keep the API keys of the fleet, in its database,
// and returns them. One service of a fleet does.
func Declare(s *service.Setup) *Keys {
	return service.Part(s, func() *Keys {
		k := &Keys{db: s.DB(nil), now: s.Now, used: map[string]time.Time{}}
		k.db.Migrations("argosy_apikey", migrations)
		apikeypb.RegisterApiKeysServer(s, &server{keys: k})
		s.Worker(service.Worker{Stage: service.Work, Name: "last use of API keys", Run: k.run})
		return k
	})
}

// Find returns the keys that the service declared, or nil.
func Find(s *service.Setup) *Keys { return service.Find[Keys](s) }

// Key is what is known of a key.
type Key struct {
	ID      string
	Subject string
	Roles   []string
	Name    string
	Made    time.Time
	Expires time.Time // zero: it does not
	Revoked time.Time // zero: it is not
	// Used is when it was last used, to about a minute. Zero: never. It is
	// written now and then and not by the calls themselves, so the last minute
	// of a service that was killed may be missing.
	Used time.Time
}

// New is a key to be made.
type New struct {
	// Subject is as whom the key calls. Required; never a service of the fleet.
	Subject string
	// Roles are what it may act as; never "service". A later change of what the
	// subject may do does not change the key.
	Roles []string
	// Name tells people what it is for, in at most 100 bytes.
	Name string
	// Expires is when it ends. Zero: it does not.
	Expires time.Time
}

func (n *New) check(now time.Time) error {
	roles := strings.Join(n.Roles, " ")
	switch {
	case n.Subject == "" || strings.HasPrefix(n.Subject, "service/") || slices.Contains(n.Roles, auth.RoleService):
		return errors.New("apikey: a key is for somebody outside the fleet")
	case len(n.Name) > maxName:
		return fault.Invalid("name", "at most %d bytes", maxName)
	case len(roles) > maxRoles || len(strings.Fields(roles)) != len(n.Roles):
		return fault.Invalid("roles", "names without spaces, of at most %d bytes together", maxRoles)
	case !n.Expires.IsZero() && !n.Expires.After(now):
		return fault.Invalid("expires", "it must be in the future")
	}
	return nil
}

// Create makes a key. What it returns first is the key itself, which is kept
// nowhere: whoever asked for it sees it once.
func (k *Keys) Create(ctx context.Context, tx *store.Tx, n New) (key string, made Key, err error) {
	now := k.now().UTC().Truncate(time.Microsecond)
	if err := n.check(now); err != nil {
		return "", Key{}, err
	}
	key, id, hash := auth.NewAPIKey()
	_, err = tx.ExecContext(ctx, `
		INSERT INTO argosy_api_keys (id, hash, subject, roles, name, made, expires, revoked, used)
		VALUES ($1, $2, $3, $4, $5, $6, $7, 0, 0)`,
		id, hash[:], n.Subject, strings.Join(n.Roles, " "), n.Name, store.At(now), store.At(n.Expires))
	if err != nil {
		return "", Key{}, fmt.Errorf("keep an API key: %w", err)
	}
	return key, Key{ID: id, Subject: n.Subject, Roles: n.Roles, Name: n.Name, Made: now, Expires: n.Expires}, nil
}

const columns = "id, subject, roles, name, made, expires, revoked, used"

func scan(row interface{ Scan(...any) error }) (Key, error) {
	var k Key
	var roles string
	var made, expires, revoked, used store.Time
	err := row.Scan(&k.ID, &k.Subject, &roles, &k.Name, &made, &expires, &revoked, &used)
	k.Roles, k.Made, k.Expires, k.Revoked, k.Used = strings.Fields(roles), made.Time, expires.Time, revoked.Time, used.Time
	return k, err
}

// List returns the keys of the subject, the newest first.
func (k *Keys) List(ctx context.Context, q store.Querier, subject string) ([]Key, error) {
	rows, err := q.QueryContext(ctx, "SELECT "+columns+" FROM argosy_api_keys WHERE subject = $1 ORDER BY made DESC, id", subject)
	if err != nil {
		return nil, fmt.Errorf("list API keys: %w", err)
	}
	defer rows.Close()
	var all []Key
	for rows.Next() {
		one, err := scan(rows)
		if err != nil {
			return nil, fmt.Errorf("list API keys: %w", err)
		}
		all = append(all, one)
	}
	return all, rows.Err()
}

// Revoke ends a key of the subject and returns it; again, it changes nothing.
// It is [ErrNotFound] for a key of somebody else. Every process of the fleet
// refuses the key half a minute after the commit at the latest.
func (k *Keys) Revoke(ctx context.Context, tx *store.Tx, subject, id string) (Key, error) {
	one, err := scan(tx.QueryRowContext(ctx, `
		UPDATE argosy_api_keys SET revoked = CASE WHEN revoked = 0 THEN $1 ELSE revoked END
		WHERE id = $2 AND subject = $3 RETURNING `+columns, store.At(k.now()), id, subject))
	if errors.Is(err, sql.ErrNoRows) {
		return Key{}, ErrNotFound
	}
	if err != nil {
		return Key{}, fmt.Errorf("revoke an API key: %w", err)
	}
	return one, nil
}

// CheckAPIKey implements [auth.APIKeyKeeper].
func (k *Keys) CheckAPIKey(ctx context.Context, id string, hash auth.APIKeyHash) (auth.APIKeyHolder, error) {
	var kept []byte
	var holder auth.APIKeyHolder
	var roles string
	var expires, revoked store.Time
	err := k.db.Read(ctx, func(ctx context.Context, q store.Querier) error {
		return q.QueryRowContext(ctx, "SELECT hash, subject, roles, expires, revoked FROM argosy_api_keys WHERE id = $1", id).
			Scan(&kept, &holder.Subject, &roles, &expires, &revoked)
	})
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return auth.APIKeyHolder{}, fmt.Errorf("look up an API key: %w", err)
	}
	now := k.now()
	same := subtle.ConstantTimeCompare(kept, hash[:]) == 1 // of nothing, for an id that is unknown
	if !same || !revoked.IsZero() || !expires.IsZero() && !now.Before(expires.Time) {
		return auth.APIKeyHolder{}, auth.ErrAPIKey
	}
	k.mu.Lock()
	k.used[id] = now
	k.mu.Unlock()
	holder.Roles, holder.Expires = strings.Fields(roles), expires.Time
	return holder, nil
}

// run writes now and then when keys were used, and once more at the end.
func (k *Keys) run(ctx context.Context) error {
	tick := time.NewTicker(flushGap)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if err := k.flush(ctx); err != nil && ctx.Err() == nil {
				return err
			}
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			defer cancel()
			return k.flush(last)
		}
	}
}

// flush writes when keys were used, in one transaction. What cannot be written
// is kept for the next time.
func (k *Keys) flush(ctx context.Context) error {
	k.mu.Lock()
	used := k.used
	k.used = map[string]time.Time{}
	k.mu.Unlock()
	if len(used) == 0 {
		return nil
	}
	ids := make([]string, 0, len(used))
	for id := range used {
		ids = append(ids, id)
	}
	slices.Sort(ids) // replicas take the rows in one order
	err := k.db.Do(ctx, func(ctx context.Context, tx *store.Tx) error {
		for _, id := range ids {
			at := store.At(used[id])
			if _, err := tx.ExecContext(ctx, "UPDATE argosy_api_keys SET used = $1 WHERE id = $2 AND used < $3", at, id, at); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		return nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for id, at := range used {
		if k.used[id].Before(at) {
			k.used[id] = at
		}
	}
	return fmt.Errorf("write when API keys were used: %w", err)
}
