package sqlite_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/argosy-go/argosy/store"
	"github.com/argosy-go/argosy/store/sqlite"
)

// childDir is the variable that makes this test binary a program which writes
// to the store in that directory and prints what was acknowledged.
const childDir = "ARGOSY_SQLITE_TEST_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		if err := writeForEver(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func writeForEver(dir string) error {
	ctx := context.Background()
	db := store.NewDB("order")
	db.Migrations("service", table)
	if err := db.Open(ctx, sqlite.Opener{}, store.OpenOptions{Dir: dir}); err != nil {
		return err
	}
	failed := make(chan error)
	for caller := range 8 {
		go func() {
			for i := caller; ; i += 8 {
				err := db.Do(ctx, func(ctx context.Context, tx *store.Tx) error {
					_, err := tx.ExecContext(ctx, "INSERT INTO t (id, a, b) VALUES ($1, 1, 'x')", i)
					return err
				})
				if err != nil {
					failed <- err
					return
				}
				fmt.Println(i)
			}
		}()
	}
	return <-failed
}

// writeAndKill has another process write, kills it in the middle and returns
// what was acknowledged. while runs before the kill.
func writeAndKill(t *testing.T, dir string, while func()) map[int]bool {
	t.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), childDir+"="+dir)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	acknowledged := map[int]bool{}
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			break // killed; half a line is no acknowledgement
		}
		id, err := strconv.Atoi(strings.TrimSpace(line))
		if err != nil {
			t.Fatal(err)
		}
		acknowledged[id] = true
		if len(acknowledged) == 500 {
			while()
			if err := child.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = child.Wait() // it was killed
	return acknowledged
}

func TestWhatWasAcknowledgedSurvivesKill(t *testing.T) {
	dir := t.TempDir()
	acknowledged := writeAndKill(t, dir, func() {
		err := store.NewDB("order").Open(t.Context(), sqlite.Opener{}, store.OpenOptions{Dir: dir})
		if err == nil || !strings.Contains(err.Error(), "SQLite refuses more than one replica") || !strings.Contains(err.Error(), "order") {
			t.Errorf("a second process is refused with the name of the service: got %v", err)
		}
		if n := len(present(t, dir)); n < 500 {
			t.Errorf("a reader beside the living process sees %d rows, at least 500 are acknowledged", n)
		}
	})
	check := func(who string) {
		t.Helper()
		there := present(t, dir)
		for id := range acknowledged {
			if !there[id] {
				t.Fatalf("%s: row %d was acknowledged and is not there", who, id)
			}
		}
	}
	check("a reader of a dead process's file")
	db := store.NewDB("order")
	if err := db.Open(t.Context(), sqlite.Opener{}, store.OpenOptions{Dir: dir}); err != nil {
		t.Fatalf("the store of a killed process opens: %v", err)
	}
	check("a reader beside the next process")
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	check("a reader of a file that was closed")
}

// present returns the ids that a Reader sees.
func present(t *testing.T, dir string) map[int]bool {
	t.Helper()
	r, err := sqlite.OpenReader(t.Context(), sqlite.Path(dir, "order"))
	if err != nil {
		t.Fatalf("open a reader: %v", err)
	}
	defer func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}()
	ids := map[int]bool{}
	err = r.Read(t.Context(), func(ctx context.Context, q store.Querier) error {
		rows, err := q.QueryContext(ctx, "SELECT id FROM t")
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			var id int
			if err := rows.Scan(&id); err != nil {
				return err
			}
			ids[id] = true
		}
		return rows.Err()
	})
	if err != nil {
		t.Fatalf("read beside the service: %v", err)
	}
	return ids
}

func TestOpenReaderOfNothing(t *testing.T) {
	path := sqlite.Path(t.TempDir(), "order")
	if _, err := sqlite.OpenReader(t.Context(), path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a reader of a file that does not exist is fs.ErrNotExist: got %v", err)
	}
	if _, err := os.Stat(filepath.Dir(path)); err == nil {
		t.Error("a reader makes no files")
	}
}

func TestOpenReaderLeavesTheFilesOfADeadProcessAlone(t *testing.T) {
	dir := t.TempDir()
	writeAndKill(t, dir, func() {})
	wal := sqlite.Path(dir, "order") + "-wal"
	before, err := os.ReadFile(wal)
	if err != nil {
		t.Fatal(err)
	}
	present(t, dir)
	after, err := os.ReadFile(wal)
	if err != nil || string(before) != string(after) {
		t.Errorf("a reader changes nothing in the log of a dead process: %d bytes before, %d after, %v", len(before), len(after), err)
	}
}

func TestASecondOpenInTheProcessIsRefused(t *testing.T) {
	dir := t.TempDir()
	openDB(t, dir)
	err := store.NewDB("bench").Open(t.Context(), sqlite.Opener{}, store.OpenOptions{Dir: dir})
	if err == nil || !strings.Contains(err.Error(), "bench") {
		t.Errorf("a second holder fails at once, by name: got %v", err)
	}
}
