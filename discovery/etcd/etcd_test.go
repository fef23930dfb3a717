package etcd

import (
	"net/url"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"

	"github.com/argosy-go/argosy/discovery"
	"github.com/argosy-go/argosy/discovery/discoverytest"
)

// startServer starts an etcd in this process and returns its address.
func startServer(t *testing.T) string {
	t.Helper()
	c := embed.NewConfig()
	c.Dir, c.LogLevel, c.LogOutputs = t.TempDir(), "fatal", []string{"/dev/null"}
	free := url.URL{Scheme: "http", Host: "127.0.0.1:0"}
	c.ListenClientUrls, c.ListenPeerUrls = []url.URL{free}, []url.URL{free}
	c.AdvertiseClientUrls, c.AdvertisePeerUrls = []url.URL{free}, []url.URL{free}
	c.InitialCluster = c.InitialClusterFromName(c.Name)
	c.TickMs, c.ElectionMs = 20, 200 // leases last at least as long as an election
	c.UnsafeNoFsync = true
	s, err := embed.StartEtcd(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	select {
	case <-s.Server.ReadyNotify():
	case err := <-s.Err():
		t.Fatal(err)
	case <-time.After(30 * time.Second):
		t.Fatal("etcd is not ready")
	}
	return s.Clients[0].Addr().String()
}

func openAt(t *testing.T, addr string) *etcd {
	t.Helper()
	e, err := open(discovery.OpenOptions{URL: "etcd://" + addr + "/" + t.Name()}, 200*time.Millisecond, 2*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestEtcdKeepsTheContract(t *testing.T) {
	addr := startServer(t)
	discoverytest.Run(t, func(t *testing.T) discoverytest.Kit {
		gate := discoverytest.NewGate(t, addr)
		e := openAt(t, gate.Addr())
		return discoverytest.Kit{
			Discovery: e,
			Break:     gate.Break,
			Lose:      func(t *testing.T) { revokeAll(t, addr) },
			Mortal: func(t *testing.T) (discovery.Registrar, func()) {
				mortal := openAt(t, addr)
				return mortal, func() {
					if err := mortal.Close(); err != nil {
						t.Error(err)
					}
				}
			},
		}
	})
}

// revokeAll makes the server forget the leases, as when they were not renewed.
func revokeAll(t *testing.T, addr string) {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{"http://" + addr}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	all, err := c.Leases(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range all.Leases {
		if _, err := c.Revoke(t.Context(), l.ID); err != nil {
			t.Error(err)
		}
	}
}

func TestURLsOfEtcd(t *testing.T) {
	for raw, want := range map[string]struct {
		endpoints int
		prefix    string
		user      string
	}{
		"etcd://10.0.0.1:2379":                         {1, "/argosy", ""},
		"etcd://10.0.0.1:2379,10.0.0.2:2379/shop/":     {2, "/shop", ""},
		"etcd://u:p%40ss@10.0.0.1:2379,10.0.0.2:2379/": {2, "/argosy", "u"},
	} {
		c, prefix, err := parse(raw)
		if err != nil || len(c.Endpoints) != want.endpoints || prefix != want.prefix || c.Username != want.user {
			t.Errorf("%s: %v %s %s %v", raw, c.Endpoints, prefix, c.Username, err)
		}
	}
	for _, bad := range []string{"", "etcd:", "etcd://", "etcd://host", "http://a:1", "etcd://a:1,,b:2"} {
		if _, _, err := parse(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func FuzzURL(f *testing.F) {
	for _, s := range []string{"etcd://a:1,b:2/x", "etcd://u:p@h:1", "etcd://%@h:1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		if c, prefix, err := parse(raw); err == nil && (len(c.Endpoints) == 0 || prefix == "") {
			t.Errorf("parse(%q) = %v %q", raw, c.Endpoints, prefix)
		}
	})
}
