// Package pgtest gives tests a Postgres server: the one that
// ARGOSY_TEST_POSTGRES_URL names, or a private one in a temporary directory
// when its binaries are found. A test binary starts it once and stops it:
//
//	func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }
//
//	url := pgtest.Database(t) // a database of the test's own
//
// Where there is neither, the binary runs no test and says so; where
// ARGOSY_TEST_REQUIRE has the word postgres, that is a failure.
package pgtest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
)

// errNone: there is no server and no way to start one.
var errNone = errors.New("ARGOSY_TEST_POSTGRES_URL is not set, and initdb and postgres are neither in PATH nor under /usr/lib/postgresql")

// server is the binary's server, while Main runs.
var server = new(atomic.Pointer[instance])

// instance is a server in use. A database that a test is through with is
// emptied and given to the next: to drop one makes the server write a
// checkpoint, which takes longer than most tests.
type instance struct {
	url string

	mu   sync.Mutex
	free []string // URLs of empty databases
	made []string // names of all databases
}

// Main starts the server, runs the tests and returns the code to exit with.
func Main(m *testing.M) int {
	return run(m, func(why error) bool {
		fmt.Println("*** LEFT OUT: every test of this package:", why)
		return false
	})
}

// MainWithout is [Main] for a package in which some tests need the server: the
// others run without it, and those ask [Available] first.
func MainWithout(m *testing.M) int {
	return run(m, func(why error) bool {
		fmt.Println("*** LEFT OUT: the tests of this package that need Postgres:", why)
		return true
	})
}

// Available reports whether there is a server.
func Available() bool { return server.Load() != nil }

// run starts the server and runs the tests; where there is none, without says
// so and whether to run them all the same.
func run(m *testing.M, without func(why error) bool) int {
	url, stop, err := start()
	if errors.Is(err, errNone) && !slices.Contains(strings.Split(os.Getenv("ARGOSY_TEST_REQUIRE"), ","), "postgres") {
		if !without(err) {
			return 0
		}
		return m.Run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "pgtest:", err)
		return 1
	}
	in := &instance{url: url}
	server.Store(in)
	defer server.Store(nil)
	code := m.Run()
	if err := errors.Join(in.dropAll(), stop()); err != nil {
		fmt.Fprintln(os.Stderr, "pgtest: stop the server:", err)
		return 1
	}
	return code
}

// start returns the URL of a server and a function that ends what it started.
func start() (url string, stop func() error, err error) {
	if url := os.Getenv("ARGOSY_TEST_POSTGRES_URL"); url != "" {
		return url, func() error { return nil }, nil
	}
	bin, ok := binaries()
	if !ok {
		return "", nil, errNone
	}
	s, err := startServer(bin)
	if err != nil {
		return "", nil, err
	}
	return s.url, s.stop, nil
}

// Server returns the URL of the server itself, for tests that make databases
// and roles.
func Server(tb testing.TB) string {
	tb.Helper()
	in := server.Load()
	if in == nil {
		tb.Fatal("pgtest: there is no server: TestMain must be os.Exit(pgtest.Main(m))")
	}
	return in.url
}

// Private starts a server for one test, with settings like "fsync=off", and
// reports false when there are no binaries to start.
func Private(tb testing.TB, settings ...string) (url string, ok bool) {
	tb.Helper()
	bin, ok := binaries()
	if !ok {
		return "", false
	}
	s, err := startServer(bin, settings...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.stop(); err != nil {
			tb.Errorf("pgtest: stop the server: %v", err)
		}
	})
	return s.url, true
}

// Tool returns the path of a program that comes with the server, as pg_dump,
// and reports false when it is not there.
func Tool(name string) (path string, ok bool) {
	bin, ok := binaries()
	path = filepath.Join(bin, name)
	return path, ok && isFile(path)
}

// Database returns the URL of an empty database. It is emptied, and whoever is
// still connected sent away, when the test ends.
func Database(tb testing.TB) string {
	tb.Helper()
	mine, drop := Create(tb)
	tb.Cleanup(drop)
	return mine
}

// Create is [Database] for tests that need thousands: drop ends its use.
func Create(tb testing.TB) (mine string, drop func()) {
	tb.Helper()
	root := Server(tb)
	in := server.Load()
	in.mu.Lock()
	defer in.mu.Unlock()
	if n := len(in.free); n > 0 {
		mine, in.free = in.free[n-1], in.free[:n-1]
	} else {
		u, err := url.Parse(root)
		if err != nil {
			tb.Fatal(err)
		}
		name := "argosy_" + strings.ToLower(rand.Text())
		Exec(tb, root, "CREATE DATABASE "+name+" ENCODING 'UTF8' TEMPLATE template0")
		in.made = append(in.made, name)
		u.Path = "/" + name
		mine = u.String()
	}
	return mine, func() {
		Exec(tb, mine, empty)
		in.mu.Lock()
		defer in.mu.Unlock()
		in.free = append(in.free, mine)
	}
}

// Copies returns a function like [Create] whose databases are copies of the one
// at from, which nobody uses any more.
func Copies(tb testing.TB, from string) func(tb testing.TB) (mine string, drop func()) {
	tb.Helper()
	u, err := url.Parse(from)
	if err != nil {
		tb.Fatal(err)
	}
	root, template := Server(tb), strings.TrimPrefix(u.Path, "/")
	return func(tb testing.TB) (string, func()) {
		tb.Helper()
		name := "argosy_" + strings.ToLower(rand.Text())
		Exec(tb, root, "CREATE DATABASE "+name+" TEMPLATE "+template)
		mine := *u
		mine.Path = "/" + name
		return mine.String(), func() { Exec(tb, root, "DROP DATABASE "+name+" WITH (FORCE)") }
	}
}

// empty makes a database what it was when it was created.
const empty = `
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid();
DO $$
DECLARE name text;
BEGIN
	FOR name IN SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' LOOP
		EXECUTE format('DROP SCHEMA %I CASCADE', name);
	END LOOP;
	CREATE SCHEMA public;
	EXECUTE format('ALTER DATABASE %I RESET ALL', current_database());
END $$`

// dropAll drops the databases, of a server that goes on.
func (in *instance) dropAll() (err error) {
	if os.Getenv("ARGOSY_TEST_POSTGRES_URL") == "" || len(in.made) == 0 {
		return nil
	}
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, in.url)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close(ctx)) }()
	for _, name := range in.made {
		if _, err := conn.Exec(ctx, "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			return err
		}
	}
	return nil
}

// Service is [Database] for tests of one service, which need no database to
// themselves: it returns the URL of a database and
// the name of a service that no other test has. Its schema is dropped when the
// test ends.
func Service(tb testing.TB) (url, service string) {
	tb.Helper()
	url, service = Server(tb), "t"+strings.ToLower(rand.Text())
	tb.Cleanup(func() { Exec(tb, url, "DROP SCHEMA IF EXISTS "+service+" CASCADE") })
	return url, service
}

// Exec runs a statement on a connection of its own.
func Exec(tb testing.TB, url, query string) {
	tb.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		tb.Fatal(err)
	}
	_, err = conn.Exec(ctx, query)
	if err := errors.Join(err, conn.Close(ctx)); err != nil {
		tb.Fatalf("%s: %v", query, err)
	}
}

// QueryRow runs a query on a connection of its own and scans its only row.
func QueryRow(tb testing.TB, url, query string, into ...any) {
	tb.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		tb.Fatal(err)
	}
	err = conn.QueryRow(ctx, query).Scan(into...)
	if err := errors.Join(err, conn.Close(ctx)); err != nil {
		tb.Fatalf("%s: %v", query, err)
	}
}
