package witness

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// Address is where a witness is, as in <Dir>/<name>.addr.json.
type Address struct {
	Name string `json:"name"`
	PID  int    `json:"pid"`
	Addr string `json:"addr"`
	// Instance is another one in each process, so that a stranger on a port
	// used again is not taken for the witness.
	Instance string `json:"instance"`
}

// URL is the base of the witness's API.
func (a Address) URL() string { return "http://" + a.Addr }

func addressPath(dir, name string) string { return filepath.Join(dir, name+".addr.json") }

func (a Address) write(dir string) error {
	path := addressPath(dir, a.Name)
	if err := os.WriteFile(path+".tmp", encode(a), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".tmp", path)
}

func (a Address) remove(dir string) error {
	err := os.Remove(addressPath(dir, a.Name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Find returns the address of the witness called name that works in dir and
// answers. ok is false when there is none.
func Find(ctx context.Context, dir, name string) (a Address, ok bool) {
	text, err := os.ReadFile(addressPath(dir, name))
	if err != nil || json.Unmarshal(text, &a) != nil {
		return Address{}, false
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, a.URL()+"/healthz", nil)
	if err != nil {
		return Address{}, false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return Address{}, false
	}
	defer resp.Body.Close()
	var h Health
	if resp.StatusCode != http.StatusOK || json.NewDecoder(resp.Body).Decode(&h) != nil {
		return Address{}, false
	}
	return a, h.Address == a
}

// Point has a witness send its webhooks to url, signed with secret.
func Point(ctx context.Context, a Address, url, secret string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, a.URL()+"/webhook",
		bytes.NewReader(encode(hook{URL: url, Secret: secret})))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("%s: %w", a.Name, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		return fmt.Errorf("%s: PUT /webhook answered %s", a.Name, resp.Status)
	}
	return nil
}

// Launch is how a witness is started.
type Launch struct {
	// Name is "bank" or "carrier".
	Name string
	// Dir is the witness's directory.
	Dir string
	// Command runs the witness; "--dir Dir --ignore-interrupt" is added.
	Command []string
	// Env is added to the environment of the program.
	Env []string
	// Webhook and Secret are told to the witness once it answers. Empty: not.
	Webhook, Secret string
}

// Process is a witness at work.
type Process struct {
	Address
	// Adopted is true when it was at work already.
	Adopted bool
	exited  <-chan struct{}
}

// startWait bounds how long a new witness may take until it answers.
const startWait = 10 * time.Second

// Ensure adopts the witness that works in the directory, or starts one as a
// child in the process group of the caller, and waits until it answers. What
// the child prints goes to <name>.log in the directory.
func Ensure(ctx context.Context, l Launch) (*Process, error) {
	p := &Process{Adopted: true}
	if a, ok := Find(ctx, l.Dir, l.Name); ok {
		p.Address = a
	} else if err := l.start(ctx, p); err != nil {
		return nil, fmt.Errorf("start the %s: %w", l.Name, err)
	}
	if l.Webhook == "" {
		return p, nil
	}
	return p, Point(ctx, p.Address, l.Webhook, l.Secret)
}

func (l Launch) start(ctx context.Context, p *Process) error {
	if err := os.MkdirAll(l.Dir, 0o700); err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(l.Dir, l.Name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	args := append(l.Command[1:len(l.Command):len(l.Command)], "--dir", l.Dir, "--ignore-interrupt")
	cmd := exec.Command(l.Command[0], args...)
	cmd.Env = append(os.Environ(), l.Env...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	exited := make(chan struct{})
	go func() { // ends with the child, which outlives this process or is waited for by Stop
		defer close(exited)
		cmd.Wait()
	}()
	p.Adopted, p.exited = false, exited
	ctx, cancel := context.WithTimeout(ctx, startWait)
	defer cancel()
	if err := p.await(ctx, l, cmd.Process.Pid); err != nil {
		cmd.Process.Kill()
		<-exited
		return err
	}
	return nil
}

// await returns when the child answers.
func (p *Process) await(ctx context.Context, l Launch, pid int) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if a, ok := Find(ctx, l.Dir, l.Name); ok && a.PID == pid {
			p.Address = a
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("no answer in time: %w", ctx.Err())
		case <-p.exited:
			return fmt.Errorf("it ended at once; see %s", filepath.Join(l.Dir, l.Name+".log"))
		case <-tick.C:
		}
	}
}

// Exited is closed when a witness that this process started has ended; nil,
// which never is, for an adopted one.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// Stop asks the witness to end and waits until it has, or until ctx is done.
func (p *Process) Stop(ctx context.Context) error {
	if p.exited == nil {
		if err := p.health(ctx); err != nil {
			return nil // it has gone already; its number may be another's by now
		}
	}
	proc, err := os.FindProcess(p.PID)
	if err != nil {
		return nil
	}
	if err := proc.Signal(syscall.SIGTERM); errors.Is(err, os.ErrProcessDone) {
		return nil
	} else if err != nil {
		return fmt.Errorf("stop the %s: %w", p.Name, err)
	}
	return p.gone(ctx)
}

func (p *Process) gone(ctx context.Context) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if p.exited == nil && p.health(ctx) != nil && ctx.Err() == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the %s is slow to end: %w", p.Name, ctx.Err())
		case <-p.exited:
			return nil
		case <-tick.C:
		}
	}
}

// health asks the witness at the address whether it still is the same.
func (p *Process) health(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.URL()+"/healthz", nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var h Health
	if err := json.NewDecoder(resp.Body).Decode(&h); err != nil {
		return err
	}
	if h.Address != p.Address {
		return errors.New("another instance")
	}
	return nil
}
