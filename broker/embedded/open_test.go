package embedded_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/argosy-go/argosy/broker"
	"github.com/argosy-go/argosy/broker/embedded"
	"github.com/argosy-go/argosy/broker/nats"
)

func TestADirectoryHasOneBroker(t *testing.T) {
	dir := t.TempDir()
	first := open(t, embedded.Opener{}, dir)
	_, err := embedded.Opener{}.Open(t.Context(), broker.OpenOptions{Dir: dir})
	if !errors.Is(err, embedded.ErrInUse) || !strings.Contains(err.Error(), dir) {
		t.Errorf("the second broker is refused with ErrInUse and the directory's name: %v", err)
	}
	if err := first.Probe(t.Context()); err != nil {
		t.Errorf("the first broker works on: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if err := open(t, embedded.Opener{}, dir).Probe(t.Context()); err != nil {
		t.Errorf("a broker after the first one works: %v", err)
	}
}

func TestWhatCannotStartSaysWhy(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		listen, dir, want string
	}{
		"a port that is taken":         {taken.Addr().String(), t.TempDir(), "address already in use"},
		"an address without a port":    {"127.0.0.1", t.TempDir(), "missing port"},
		"a port that is no number":     {"127.0.0.1:nats", t.TempDir(), `"127.0.0.1:nats"`},
		"a port that is none":          {"127.0.0.1:70000", t.TempDir(), `"127.0.0.1:70000"`},
		"a directory that is a file":   {"", file, "make the broker's directory"},
		"a host that is not ours here": {"203.0.113.1:0", t.TempDir(), "203.0.113.1"},
	} {
		t.Run(name, func(t *testing.T) {
			begun := time.Now()
			b, err := embedded.Opener{Listen: c.listen}.Open(t.Context(), broker.OpenOptions{Dir: c.dir})
			if err == nil {
				_ = b.Close()
				t.Fatal("it started")
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("the error is %q, want %q in it", err, c.want)
			}
			if took := time.Since(begun); took > 20*time.Second {
				t.Errorf("it took %s to say so", took)
			}
			if info, err := os.Stat(c.dir); err == nil && info.IsDir() {
				open(t, embedded.Opener{}, c.dir) // the lock is released
			}
		})
	}
}

func TestItListensWhereItIsTold(t *testing.T) {
	quiet := open(t, embedded.Opener{}, t.TempDir())
	if url := quiet.URL(); url != "" {
		t.Errorf("a broker that was not told to listen listens at %s", url)
	}
	b := open(t, embedded.Opener{Listen: "127.0.0.1:0"}, t.TempDir())
	far, err := nats.Opener{}.Open(t.Context(), broker.OpenOptions{URL: b.URL()})
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	if errs := far.Publish(t.Context(), []broker.Message{{ID: "1", Topic: "listen", Body: []byte("far")}}); errs != nil {
		t.Fatal(errs)
	}
	r, err := b.Subscribe(t.Context(), broker.Subscription{Consumer: "near", Topic: "listen", Partitions: []int{0}})
	if err != nil {
		t.Fatal(err)
	}
	if ds, err := r.Receive(t.Context(), 1); err != nil || string(ds[0].Body) != "far" {
		t.Errorf("what another connection published comes: %v %v", ds, err)
	}
}

func TestTheServerLogsWhereItIsTold(t *testing.T) {
	var log bytes.Buffer
	b, err := embedded.Opener{}.Open(t.Context(), broker.OpenOptions{
		Dir: t.TempDir(), Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), "Server is ready") || strings.Contains(log.String(), "level=ERROR") {
		t.Errorf("a start and an end in peace log notices for who debugs:\n%s", &log)
	}
}

func TestNothingIsLeftRunning(t *testing.T) {
	run := func() {
		b, err := embedded.Opener{}.Open(context.Background(), broker.OpenOptions{Dir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		if errs := b.Publish(t.Context(), []broker.Message{{ID: "1", Topic: "leak"}, {ID: "2", Topic: "leak"}}); errs != nil {
			t.Fatal(errs)
		}
		for _, consumer := range []string{"received", "waiting", "closed"} {
			r, err := b.Subscribe(t.Context(), broker.Subscription{Consumer: consumer, Topic: "leak", Partitions: []int{0}})
			if err != nil {
				t.Fatal(err)
			}
			if consumer == "received" {
				if _, err := r.Receive(t.Context(), 1); err != nil {
					t.Fatal(err)
				}
			}
			if consumer == "closed" {
				_ = r.Close()
			}
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
	run() // what stays once, as the server's timers, is not counted
	before := runtime.NumGoroutine()
	for range 3 {
		run()
	}
	for deadline := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > before; runtime.Gosched() {
		if time.Now().After(deadline) {
			stacks := make([]byte, 1<<20)
			t.Fatalf("%d goroutines before, %d after:\n%s", before, runtime.NumGoroutine(), stacks[:runtime.Stack(stacks, true)])
		}
	}
}
