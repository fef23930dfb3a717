package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/argosy-go/argosy"
	"github.com/argosy-go/argosy/engine/embedded"
)

// process is argosy as a program of its own, for what runs in this process
// elsewhere: it is slower by much, above all under the race detector.
const process = "argosy-process"

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){process: main})
}

const scriptToken = "correct-horse-battery-staple"

// fleet is the command "fleet SERVICE,... [setting...]": it starts a program of
// the named stubs, and adds its address to ARGOSY_ADMIN_URL.
func fleet(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: fleet SERVICE,... [setting...]")
	}
	var services []argosy.Service
	for name := range strings.SplitSeq(args[0], ",") {
		services = append(services, ts.Value(name).(*stub).service())
	}
	f, err := startFleet(ts.MkAbs(".data-"+args[0]), args[1:], services...)
	ts.Check(err)
	ts.Defer(func() { ts.Check(stopFleet(f)) })
	urls := "http://" + f.Addrs().Admin
	if before := ts.Getenv("ARGOSY_ADMIN_URL"); before != "" {
		urls = before + "," + urls
	}
	ts.Setenv("ARGOSY_ADMIN_URL", urls)
}

// startFleet starts a program with its data in dir.
func startFleet(dir string, args []string, services ...argosy.Service) (*argosy.Fleet, error) {
	return argosy.Start(context.Background(), argosy.Program{
		Name: "test", Engines: embedded.Engines(), Services: services,
		Args: append([]string{"--http=127.0.0.1:0", "--grpc=127.0.0.1:0", "--admin=127.0.0.1:0", "--data=" + dir}, args...),
	})
}

func stopFleet(f *argosy.Fleet) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	return f.Stop(ctx)
}

// asked is the command "asked SERVICE": what operators changed of a stub since
// the last time, as standard output.
func asked(ts *testscript.TestScript, neg bool, args []string) {
	s, ok := ts.Value(args[0]).(*stub)
	if !ok || neg {
		ts.Fatalf("usage: asked SERVICE")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprint(ts.Stdout(), strings.Join(append(s.asked, ""), "\n"))
	s.asked = nil
}

// runArgosy runs argosy in this process and returns its exit code.
func runArgosy(ts *testscript.TestScript, args []string) int {
	env := func(name string) (string, bool) {
		v := ts.Getenv(name)
		return v, v != ""
	}
	return run(context.Background(), args, strings.NewReader(""), ts.Stdout(), ts.Stderr(), env)
}

// argosyCommand is the command "argosy ...", which must end well.
func argosyCommand(ts *testscript.TestScript, neg bool, args []string) {
	if got := runArgosy(ts, args); (got != 0) != neg {
		ts.Fatalf("exit code %d", got)
	}
}

// code is the command "code N argosy ...": it must end with that exit code.
func code(ts *testscript.TestScript, neg bool, args []string) {
	want, err := strconv.Atoi(args[0])
	if err != nil || neg || args[1] != "argosy" {
		ts.Fatalf("usage: code N argosy [argument...]")
	}
	if got := runArgosy(ts, args[2:]); got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// tty is the command "tty WIDTH FILE argosy ...": it runs on a terminal of that
// width where FILE is typed, and what it shows is the standard output.
func tty(ts *testscript.TestScript, neg bool, args []string) {
	width, err := strconv.ParseUint(args[0], 10, 16)
	ts.Check(err)
	path, err := exec.LookPath(process)
	ts.Check(err)
	cmd := exec.Command(path, args[3:]...)
	cmd.Dir = ts.MkAbs(".")
	for _, name := range []string{"ARGOSY_ADMIN_URL", "ARGOSY_ACTOR", "HOME", "NO_COLOR", "TERM", "PATH"} {
		cmd.Env = append(cmd.Env, name+"="+ts.Getenv(name))
	}
	screen, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 24, Cols: uint16(width)})
	ts.Check(err)
	defer screen.Close()
	_, err = screen.WriteString(ts.ReadFile(args[1]))
	ts.Check(err)
	var shown bytes.Buffer
	if _, err := io.Copy(&shown, screen); err != nil && !errors.Is(err, syscall.EIO) { // EIO: the other side has closed
		ts.Fatalf("read the terminal: %v", err)
	}
	err = cmd.Wait()
	fmt.Fprint(ts.Stdout(), strings.ReplaceAll(shown.String(), "\r\n", "\n"))
	if (err != nil) != neg {
		ts.Fatalf("it ended with %v\n%s", err, shown.Bytes())
	}
}

// closedPort returns an address where nothing listens.
func closedPort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script", UpdateScripts: os.Getenv("ARGOSY_UPDATE") != "",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"argosy": argosyCommand, "asked": asked, "code": code, "fleet": fleet, "tty": tty},
		Setup: func(env *testscript.Env) error {
			closed, err := closedPort()
			env.Values["order"], env.Values["stock"] = newStub("order", 2, "checkout"), newStub("stock", 150, "refill")
			env.Vars = append(env.Vars, "CLOSED="+closed, "ARGOSY_ACTOR=ada@desk", "TOKEN="+scriptToken, "HOME="+env.WorkDir)
			return err
		},
	})
}
