package argosy_test

import (
	"context"
	"maps"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/argosy-go/argosy"
	"github.com/argosy-go/argosy/auth/apikey"
	"github.com/argosy-go/argosy/store"
)

// vault is a service that keeps the API keys of its fleet.
type vault struct {
	db   *store.DB
	keys *apikey.Keys
	key  string // one that it has made
	id   string
}

func (v *vault) service() argosy.Service {
	return argosy.Service{Name: "vault", Setup: func(s *argosy.Setup) error {
		keys, db := apikey.Declare(s), s.DB(nil)
		s.OnStart("make a key", func(ctx context.Context) error {
			v.keys, v.db = keys, db
			return db.Do(ctx, func(ctx context.Context, tx *store.Tx) error {
				key, made, err := keys.Create(ctx, tx, apikey.New{Subject: "till", Roles: []string{"customer"}})
				v.key, v.id = key, made.ID
				return err
			})
		})
		return nil
	}}
}

func (v *vault) revoke(t *testing.T) {
	t.Helper()
	err := v.db.Do(t.Context(), func(ctx context.Context, tx *store.Tx) error {
		_, err := v.keys.Revoke(ctx, tx, "till", v.id)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A revoked key ends within half a minute, whether its service runs here or in
// another process; the clock is the test's.
func TestAPIKeysAreTakenOnBothEdgesUntilTheyAreRevoked(t *testing.T) {
	for name, apart := range map[string]bool{"in one process": false, "kept by another process": true} {
		t.Run(name, func(t *testing.T) {
			var ahead atomic.Int64
			v := &vault{}
			all := func(args ...string) argosy.Program {
				p := program(t, serving("greeter", whoCalls), v.service())
				p.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
				p.Args = append(p.Args, args...)
				return p
			}
			var f *argosy.Fleet
			if apart {
				key := "--auth-key=" + filepath.Join(t.TempDir(), "signer.key")
				behind := start(t, all("--only=vault", key))
				f = start(t, all("--only=greeter", key, "--peers=vault="+behind.Addrs().GRPC))
			} else {
				f = start(t, all())
			}
			const who = "till [customer] true"
			mustSay := func(headers map[string]string, rest, grpcs string) {
				t.Helper()
				gotREST, gotGRPC := asked(t, f, headers)
				if !strings.Contains(gotREST, rest) || gotGRPC != grpcs {
					t.Errorf("%v: REST %s, gRPC %s; want %s, %s", headers, gotREST, gotGRPC, rest, grpcs)
				}
			}
			mustSay(bearer(v.key), who, who)
			mustSay(map[string]string{"X-Api-Key": v.key}, who, who)
			both := bearer(v.key)
			maps.Copy(both, map[string]string{"X-Api-Key": v.key})
			mustSay(both, "Unauthorized", "Unauthenticated")
			mustSay(map[string]string{"X-Api-Key": "hello"}, "Unauthorized", "Unauthenticated")
			mustSay(bearer(v.key[:len(v.key)-1]), "Unauthorized", "Unauthenticated")

			v.revoke(t)
			ahead.Store(int64(30 * time.Second))
			mustSay(bearer(v.key), "Unauthorized", "Unauthenticated")
		})
	}
}

func TestWhereTheKeeperCannotBeReachedKeysAreUnavailable(t *testing.T) {
	v := &vault{}
	start(t, program(t, v.service())) // makes the key
	p := program(t, serving("greeter", whoCalls), v.service())
	p.Args = append(p.Args, "--only=greeter")
	f := start(t, p)
	if rest, grpcs := asked(t, f, bearer(v.key)); rest != "Service Unavailable" || grpcs != "Unavailable" {
		t.Errorf("REST %s, gRPC %s", rest, grpcs)
	}
}

func TestOneServiceKeepsTheKeys(t *testing.T) {
	second := func(s *argosy.Setup) { apikey.Declare(s) }
	if f, err := argosy.Start(t.Context(), program(t, (&vault{}).service(), serving("other", nil, second))); err == nil {
		_ = f.Stop(t.Context())
		t.Error("two services keep the keys of one fleet")
	}
}
