package pgtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// patience is how long a server may take to start.
const patience = 60 * time.Second

// binaries returns the directory of initdb and postgres.
func binaries() (string, bool) {
	var dirs []string
	if path, err := exec.LookPath("initdb"); err == nil {
		dirs = append(dirs, filepath.Dir(path))
	}
	debian, _ := filepath.Glob("/usr/lib/postgresql/*/bin") // the pattern is well formed
	slices.Reverse(debian)
	for _, dir := range append(dirs, debian...) {
		if isFile(filepath.Join(dir, "initdb")) && isFile(filepath.Join(dir, "postgres")) {
			return dir, true
		}
	}
	return "", false
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// privateServer is a server that only this process knows: it listens on a
// socket in its directory, and on no port.
type privateServer struct {
	url    string
	dir    string
	cmd    *exec.Cmd
	alive  io.Closer // the server lives until this is closed
	exited chan error
}

// script makes a cluster and runs a server until its input ends, which it also
// does when the process at the other end is killed.
const script = `set -e
"$BIN/initdb" -D "$DIR/data" -U postgres -A trust -E UTF8 --locale=C --no-sync >"$DIR/log" 2>&1
"$BIN/postgres" -D "$DIR/data" -k "$DIR" -c listen_addresses= -c max_connections=200 $SETTINGS >>"$DIR/log" 2>&1 &
server=$!
cat >/dev/null
kill -INT $server
wait $server || true
cd /
rm -rf "$DIR"
`

func startServer(bin string, settings ...string) (*privateServer, error) {
	dir, err := os.MkdirTemp("", "argosy-pg-")
	if err != nil {
		return nil, err
	}
	var flags strings.Builder
	for _, s := range settings {
		flags.WriteString(" -c " + s)
	}
	cmd := exec.Command("/bin/sh", "-c", script)
	if os.Geteuid() == 0 { // Postgres refuses root
		if err := giveAway(dir); err != nil {
			return nil, errors.Join(err, os.RemoveAll(dir))
		}
		cmd = exec.Command("su", "-s", "/bin/sh", "-m", "postgres", "-c", script)
	}
	cmd.Dir = dir
	cmd.Env = append(cmd.Environ(), "BIN="+bin, "DIR="+dir, "HOME="+dir, "SETTINGS="+flags.String())
	alive, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	s := &privateServer{dir: dir, cmd: cmd, alive: alive, exited: make(chan error, 1)}
	s.url = (&url.URL{Scheme: "postgres", User: url.User("postgres"), Path: "/postgres", RawQuery: "host=" + url.QueryEscape(dir)}).String()
	go func() { s.exited <- cmd.Wait() }()
	if err := s.await(); err != nil {
		log, _ := os.ReadFile(filepath.Join(dir, "log")) // there may be none yet
		return nil, errors.Join(fmt.Errorf("start a private Postgres: %w\n%s", err, strings.TrimSpace(string(log))), s.stop())
	}
	return s, nil
}

// giveAway makes the directory belong to the user that Postgres runs as.
func giveAway(dir string) error {
	u, err := user.Lookup("postgres")
	if err != nil {
		return fmt.Errorf("postgres does not run as root, and there is no user for it: %w", err)
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return err
	}
	gid, err := strconv.Atoi(u.Gid)
	if err != nil {
		return err
	}
	return os.Chown(dir, uid, gid)
}

// await waits until the server answers.
func (s *privateServer) await() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-s.exited:
			s.exited <- err
			return fmt.Errorf("it ended: %w", err)
		case <-ctx.Done():
			return fmt.Errorf("it does not answer within %v", patience)
		case <-tick.C:
		}
		conn, err := pgx.Connect(ctx, s.url)
		if err == nil {
			return conn.Close(ctx)
		}
	}
}

// stop ends the server and removes its directory.
func (s *privateServer) stop() error {
	err := s.alive.Close()
	var code *exec.ExitError
	if werr := <-s.exited; werr != nil && !errors.As(werr, &code) {
		err = errors.Join(err, werr)
	}
	return errors.Join(err, os.RemoveAll(s.dir))
}
