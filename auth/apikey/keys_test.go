package apikey_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/argosy-go/argosy/auth"
	"github.com/argosy-go/argosy/auth/apikey"
	"github.com/argosy-go/argosy/internal/pgtest"
	"github.com/argosy-go/argosy/service"
	"github.com/argosy-go/argosy/store"
	"github.com/argosy-go/argosy/store/postgres"
	"github.com/argosy-go/argosy/store/sqlite"
)

func TestMain(m *testing.M) { os.Exit(pgtest.MainWithout(m)) }

// shelf is a service that keeps keys, with a clock that stands still.
type shelf struct {
	t    *testing.T
	now  time.Time
	db   *store.DB
	keys *apikey.Keys
	work service.Worker
}

func onBothStores(t *testing.T, test func(t *testing.T, s *shelf)) {
	t.Helper()
	open := func(t *testing.T, name string, o store.Opener, options store.OpenOptions) *shelf {
		s := &shelf{t: t, now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
		setup := service.New(name, service.Options{RunTwice: true, Now: func() time.Time { return s.now }})
		s.keys, s.db = apikey.Declare(setup), setup.DB(nil)
		if err := setup.Err(); err != nil {
			t.Fatal(err)
		}
		if again := apikey.Declare(setup); again != s.keys || apikey.Find(setup) != s.keys {
			t.Error("a service has two shelves")
		}
		if err := s.db.Open(t.Context(), o, options); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := s.db.Close(); err != nil {
				t.Error(err)
			}
		})
		s.work = setup.Workers()[0]
		return s
	}
	t.Run("sqlite", func(t *testing.T) { test(t, open(t, "test", sqlite.Opener{}, store.OpenOptions{Dir: t.TempDir()})) })
	if pgtest.Available() {
		t.Run("postgres", func(t *testing.T) {
			url, name := pgtest.Service(t)
			test(t, open(t, name, postgres.Opener{}, store.OpenOptions{URL: url}))
		})
	}
}

func (s *shelf) make(n apikey.New) (key string, made apikey.Key) {
	s.t.Helper()
	err := s.db.Do(s.t.Context(), func(ctx context.Context, tx *store.Tx) (err error) {
		key, made, err = s.keys.Create(ctx, tx, n)
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return key, made
}

func (s *shelf) revoke(subject, id string) (key apikey.Key, err error) {
	err = s.db.Do(s.t.Context(), func(ctx context.Context, tx *store.Tx) (err error) {
		key, err = s.keys.Revoke(ctx, tx, subject, id)
		return err
	})
	return key, err
}

func (s *shelf) list(subject string) (all []apikey.Key) {
	s.t.Helper()
	err := s.db.Read(s.t.Context(), func(ctx context.Context, q store.Querier) (err error) {
		all, err = s.keys.List(ctx, q, subject)
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return all
}

func (s *shelf) check(key string) (auth.APIKeyHolder, error) {
	s.t.Helper()
	id, hash, ok := auth.ParseAPIKey(key)
	if !ok {
		s.t.Fatalf("%q is no key", key)
	}
	return s.keys.CheckAPIKey(s.t.Context(), id, hash)
}

func TestAKeyIsKeptByItsHashAndCheckedByIt(t *testing.T) {
	onBothStores(t, func(t *testing.T, s *shelf) {
		key, made := s.make(apikey.New{Subject: "u1", Roles: []string{"customer", "support"}, Name: "till 4", Expires: s.now.Add(time.Hour)})
		holder, err := s.check(key)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(auth.APIKeyHolder{Subject: "u1", Roles: []string{"customer", "support"}, Expires: s.now.Add(time.Hour)}, holder); d != "" {
			t.Errorf("(-want +got)\n%s", d)
		}
		if d := cmp.Diff([]apikey.Key{made}, s.list("u1")); d != "" {
			t.Errorf("list (-want +got)\n%s", d)
		}

		var row string
		err = s.db.Read(t.Context(), func(ctx context.Context, q store.Querier) error {
			return q.QueryRowContext(ctx, "SELECT id || subject || roles || name || CAST(hash AS TEXT) FROM argosy_api_keys").Scan(&row)
		})
		if err != nil {
			t.Fatal(err)
		}
		if secret := key[20:72]; strings.Contains(row, secret) || strings.Contains(fmt.Sprintf("%+v", made), secret) {
			t.Error("the secret is kept")
		}

		id, hash, _ := auth.ParseAPIKey(key)
		hash[31] ^= 1
		if _, err := s.keys.CheckAPIKey(t.Context(), id, hash); !errors.Is(err, auth.ErrAPIKey) {
			t.Errorf("another secret: got %v", err)
		}
		stranger, _, _ := auth.NewAPIKey()
		if _, err := s.check(stranger); !errors.Is(err, auth.ErrAPIKey) {
			t.Errorf("an unknown key: got %v", err)
		}
		if _, err := s.keys.CheckAPIKey(t.Context(), "", auth.APIKeyHash{}); !errors.Is(err, auth.ErrAPIKey) {
			t.Errorf("no key: got %v", err)
		}
	})
}

func TestAKeyEnds(t *testing.T) {
	onBothStores(t, func(t *testing.T, s *shelf) {
		short, _ := s.make(apikey.New{Subject: "u1", Expires: s.now.Add(time.Minute)})
		s.now = s.now.Add(time.Second)
		long, made := s.make(apikey.New{Subject: "u1"})
		if all := s.list("u1"); len(all) != 2 || all[0].ID != made.ID {
			t.Errorf("the newest is not first: %+v", all)
		}
		s.now = s.now.Add(59 * time.Second)
		if _, err := s.check(short); !errors.Is(err, auth.ErrAPIKey) {
			t.Errorf("expired: got %v", err)
		}
		if _, err := s.revoke("u2", made.ID); !errors.Is(err, apikey.ErrNotFound) {
			t.Errorf("somebody else revoked it: %v", err)
		}
		if _, err := s.check(long); err != nil {
			t.Errorf("it does not expire, and holds: %v", err)
		}
		at := s.now
		for range 2 { // the second time changes nothing
			key, err := s.revoke("u1", made.ID)
			if err != nil || !key.Revoked.Equal(at) {
				t.Errorf("revoked at %v, %v; want %v", key.Revoked, err, at)
			}
			s.now = s.now.Add(time.Hour)
		}
		if _, err := s.check(long); !errors.Is(err, auth.ErrAPIKey) {
			t.Errorf("revoked: got %v", err)
		}
	})
}

func TestTheLastUseIsWrittenBesideTheCalls(t *testing.T) {
	onBothStores(t, func(t *testing.T, s *shelf) {
		key, made := s.make(apikey.New{Subject: "u1"})
		unused, _ := s.make(apikey.New{Subject: "u2"})
		id, _, _ := auth.ParseAPIKey(unused)
		_, wrong, _ := auth.ParseAPIKey(key)
		_, _ = s.keys.CheckAPIKey(t.Context(), id, wrong) // proves nothing, so it is no use
		if _, err := s.check(key); err != nil {
			t.Fatal(err)
		}
		if all := s.list("u1"); !all[0].Used.IsZero() {
			t.Error("a check wrote")
		}
		drained, cancel := context.WithCancel(t.Context())
		cancel()
		if err := s.work.Run(drained); err != nil {
			t.Fatal(err)
		}
		if all := s.list("u1"); !all[0].Used.Equal(s.now) || all[0].ID != made.ID {
			t.Errorf("got %+v, want used at %v", all, s.now)
		}
		if all := s.list("u2"); !all[0].Used.IsZero() {
			t.Error("a key that nobody showed was used")
		}
	})
}

func TestKeysThatAreNotMade(t *testing.T) {
	onBothStores(t, func(t *testing.T, s *shelf) {
		for name, n := range map[string]apikey.New{
			"for nobody":             {},
			"for a service":          {Subject: "service/order"},
			"with a service's role":  {Subject: "u1", Roles: []string{auth.RoleService}},
			"with a space in a role": {Subject: "u1", Roles: []string{"a b"}},
			"with an empty role":     {Subject: "u1", Roles: []string{""}},
			"with endless roles":     {Subject: "u1", Roles: []string{strings.Repeat("r", 2000)}},
			"with an endless name":   {Subject: "u1", Name: strings.Repeat("n", 101)},
			"that has ended":         {Subject: "u1", Expires: s.now},
		} {
			err := s.db.Do(t.Context(), func(ctx context.Context, tx *store.Tx) error {
				_, _, err := s.keys.Create(ctx, tx, n)
				return err
			})
			if err == nil {
				t.Errorf("%s: made", name)
			}
		}
		if all := s.list("u1"); len(all) > 0 {
			t.Errorf("kept: %+v", all)
		}
	})
}
