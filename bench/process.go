package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"strings"
	"syscall"
	"time"
)

// usage is what a process has used since it began.
type usage struct {
	CPU    time.Duration // user and system
	Allocs uint64        // heap objects
}

func used() (usage, error) {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return usage{}, fmt.Errorf("getrusage: %w", err)
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return usage{CPU: time.Duration(r.Utime.Nano() + r.Stime.Nano()), Allocs: m.Mallocs}, nil
}

func (u usage) since(before usage) usage { return usage{u.CPU - before.CPU, u.Allocs - before.Allocs} }

// order is one line that a process is told; the zero order asks for its usage.
type order struct {
	Work   string `json:",omitempty"`
	Flight int    `json:",omitempty"`
	For    time.Duration
}

// answer is the line that it answers with.
type answer struct {
	Addr     string `json:",omitempty"` // the first line of a server
	Usage    usage  // of a server since it began, of a load in the time of the order
	Calls    int
	Took     time.Duration
	P50, P99 time.Duration
}

// obey answers each order until the input ends, which it takes as the sign to
// go. The first answer says that the process is ready.
func obey(o options, in io.Reader, out io.Writer, ready answer, do func(order) (answer, error)) (err error) {
	if o.profile != "" {
		stop, perr := profile(filepath.Join(o.profile, strings.NewReplacer("/", "", " ", "-", ",", "").Replace(o.side)+"."+o.role))
		if perr != nil {
			return perr
		}
		defer func() { err = errors.Join(err, stop()) }()
	}
	enc, dec := json.NewEncoder(out), json.NewDecoder(in)
	if err := enc.Encode(ready); err != nil {
		return err
	}
	for {
		var next order
		if err := dec.Decode(&next); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		a, err := do(next)
		if err != nil {
			return err
		}
		if err := enc.Encode(a); err != nil {
			return err
		}
	}
}

// tell answers the orders of a server: what it has used.
func tell(order) (answer, error) {
	u, err := used()
	return answer{Usage: u}, err
}

// profile writes the profiles of this process until stop.
func profile(name string) (stop func() error, err error) {
	f, err := os.Create(name + ".cpu")
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() error {
		pprof.StopCPUProfile()
		heap, err := os.Create(name + ".allocs")
		if err != nil {
			return errors.Join(err, f.Close())
		}
		return errors.Join(pprof.Lookup("allocs").WriteTo(heap, 0), heap.Close(), f.Close())
	}, nil
}

// child is a process that the run started.
type child struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func startChild(ctx context.Context, o options, args ...string) (*child, answer, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, answer{}, err
	}
	c := &child{cmd: exec.CommandContext(ctx, self, append(args, "-dir", o.dir, "-profile", o.profile)...)}
	c.cmd.Stderr = os.Stderr
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return nil, answer{}, err
	}
	pipe, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, answer{}, err
	}
	c.out = bufio.NewReader(pipe)
	if err := c.cmd.Start(); err != nil {
		return nil, answer{}, err
	}
	ready, err := c.hear()
	if err != nil {
		c.stop()
	}
	return c, ready, err
}

func (c *child) hear() (a answer, err error) {
	line, err := c.out.ReadBytes('\n')
	if err != nil {
		return a, fmt.Errorf("the process ended: %w", err)
	}
	return a, json.Unmarshal(line, &a)
}

func (c *child) ask(o order) (answer, error) {
	if err := json.NewEncoder(c.in).Encode(o); err != nil {
		return answer{}, err
	}
	return c.hear()
}

// stop lets the process go and waits for it; how it ends no longer matters.
func (c *child) stop() {
	_ = c.in.Close()
	_ = c.cmd.Wait()
}

// pair is the server and the client of one side.
type pair struct{ server, client *child }

func startPair(ctx context.Context, o options, side string) (*pair, error) {
	server, ready, err := startChild(ctx, o, "-role", "serve", "-side", side)
	if err != nil {
		return nil, err
	}
	client, _, err := startChild(ctx, o, "-role", "load", "-side", side, "-target", ready.Addr)
	if err != nil {
		server.stop()
		return nil, err
	}
	return &pair{server, client}, nil
}

func (p *pair) stop() {
	p.client.stop()
	p.server.stop()
}
