//go:build linux

package torture

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// Process is a program under torture. Like an orchestrator, a run starts it
// again whenever it ends. Its methods are for faults, may be used concurrently,
// and work from the start of the run to its end.
type Process struct {
	// Name of the process, and of the target of the faults that strike it.
	Name string
	// Command returns what to start; it is called for each start, with the
	// same arguments if it is to find its data and its address again. The
	// process group, the death signal and, when they are nil, the outputs are
	// set by the run.
	Command func() *exec.Cmd
	// Ready returns nil when the process serves. It is called again and again.
	Ready func(ctx context.Context) error
	// Host is the machine that the process runs on. Nil: the one of the test.
	Host *Host
	// Grace is how long the process may take to end after SIGTERM. Zero: 30 s.
	Grace time.Duration

	mu       sync.Mutex
	pid      int           // 0: it does not run
	exited   chan struct{} // of the incarnation that runs
	blamed   bool          // the end of this incarnation is a fault's work
	excused  int           // faults under which it may end by itself
	served   bool          // this incarnation has been ready
	unready  int           // incarnations that ended by themselves before
	held     int           // faults that do not want it started
	changed  chan struct{} // closed when held or pid change
	starts   int
	said     *tail
	lastExit string
}

// defaults of a process: how soon it is started again, and how long SIGTERM
// may take.
const (
	restartAfter = 100 * time.Millisecond
	defaultGrace = 30 * time.Second
)

// keep runs the process until ctx ends, and again whenever it ends; report is
// told of ends that no fault is to be blamed for. One that ends before it is
// ready is no failure: what it needs may be cut off, and the run waits for it
// where it has to be ready.
func (p *Process) keep(ctx context.Context, report func(what string)) {
	for p.awaitRelease(ctx) == nil {
		err := p.incarnation(ctx)
		if ctx.Err() != nil {
			return
		}
		p.mu.Lock()
		blamed, served := p.blamed || p.excused > 0, p.served
		if !blamed && !served {
			p.unready++
		}
		p.mu.Unlock()
		if !blamed && served {
			report(fmt.Sprintf("%s ended by itself: %v", p.Name, err))
		}
		if pause(ctx, restartAfter) != nil {
			return
		}
	}
}

// incarnation runs the process once and returns how it ended. It stays on one
// thread from start to end: the thread's network namespace is the child's, and
// the child is killed when the thread ends, which it does with the test.
func (p *Process) incarnation(ctx context.Context) error {
	result := make(chan error, 1)
	go func() { // waited for below; its thread is not used again
		runtime.LockOSThread()
		result <- p.onThread(ctx)
	}()
	return <-result
}

func (p *Process) onThread(ctx context.Context) error {
	if p.Host != nil {
		if err := p.Host.enter(); err != nil {
			return err
		}
	}
	cmd := p.Command()
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid, cmd.SysProcAttr.Pdeathsig = true, syscall.SIGKILL
	cmd.WaitDelay = 5 * time.Second // for a grandchild that keeps the output open
	p.mu.Lock()
	if p.said == nil {
		p.said = &tail{}
	}
	if cmd.Stdout == nil && cmd.Stderr == nil {
		cmd.Stdout, cmd.Stderr = p.said, p.said
	}
	p.starts++
	if p.held > 0 || ctx.Err() != nil { // a fault was quicker
		p.blamed = true
		p.mu.Unlock()
		return nil
	}
	if err := cmd.Start(); err != nil {
		p.blamed = false
		p.mu.Unlock()
		return err
	}
	exited := make(chan struct{})
	p.pid, p.exited, p.blamed, p.served = cmd.Process.Pid, exited, false, false
	p.wake()
	p.mu.Unlock()

	life, over := context.WithCancel(ctx)
	watched := make(chan struct{})
	go func() { // waited for below
		defer close(watched)
		p.watch(life)
	}()
	stop := context.AfterFunc(ctx, func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }) // it may have gone
	err := cmd.Wait()
	stop()
	over()
	<-watched
	p.mu.Lock()
	defer p.mu.Unlock()
	// Whatever it started goes with it. The group's number is not used again
	// while a member of it lives.
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	p.pid, p.lastExit = 0, cmd.ProcessState.String()
	close(exited)
	p.wake()
	if err == nil {
		err = errors.New("exit status 0")
	}
	return err
}

// watch notes that this incarnation is ready, once it is.
func (p *Process) watch(ctx context.Context) {
	if until(ctx, p.Ready) != nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.served = true
}

// wake tells whoever waits that something changed. p.mu is held.
func (p *Process) wake() {
	if p.changed != nil {
		close(p.changed)
		p.changed = nil
	}
}

// awaitRelease waits until no fault holds the process back.
func (p *Process) awaitRelease(ctx context.Context) error {
	return p.await(ctx, func() bool { return p.held == 0 })
}

// await waits until condition, which is called under the lock, holds.
func (p *Process) await(ctx context.Context, condition func() bool) error {
	for {
		p.mu.Lock()
		if condition() {
			p.mu.Unlock()
			return ctx.Err()
		}
		if p.changed == nil {
			p.changed = make(chan struct{})
		}
		changed := p.changed
		p.mu.Unlock()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

// Pid returns the process id, or 0 while the process does not run.
func (p *Process) Pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pid
}

// Hold keeps the process from being started again until Release; it does not
// end it.
func (p *Process) Hold() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held++
}

// Release ends a Hold.
func (p *Process) Release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held--
	p.wake()
}

// Excuse lets the process end by itself until the function that it returns is
// called, without failing the run: a program may well give up, and be started
// again, while its disk is full.
func (p *Process) Excuse() (accuse func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.excused++
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.excused--
	}
}

// Signal sends a signal to the process and everything in its group. It does
// nothing while the process does not run.
func (p *Process) Signal(s syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pid == 0 {
		return nil
	}
	if err := syscall.Kill(-p.pid, s); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("%s to %s: %w", s, p.Name, err)
	}
	return nil
}

// Kill ends the process and everything in its group with SIGKILL, and returns
// when it has gone.
func (p *Process) Kill(ctx context.Context) error { return p.end(ctx, syscall.SIGKILL) }

// UncleanError says that a process ended after SIGTERM, and not with 0.
type UncleanError struct{ Process, Exit string }

// Error names the process and how it ended.
func (e *UncleanError) Error() string {
	return fmt.Sprintf("%s ended after SIGTERM with %s", e.Process, e.Exit)
}

// Terminate ends the process with SIGTERM, and returns when it has gone: an
// error when it takes longer than Grace, and is killed, and an [UncleanError]
// when it does not exit with 0.
func (p *Process) Terminate(ctx context.Context) error {
	grace := p.Grace
	if grace == 0 {
		grace = defaultGrace
	}
	patient, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	if err := p.end(patient, syscall.SIGTERM); err != nil {
		return errors.Join(fmt.Errorf("%s did not end within %s of SIGTERM: %w", p.Name, grace, err), p.Kill(context.WithoutCancel(ctx)))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lastExit != "exit status 0" {
		return &UncleanError{p.Name, p.lastExit}
	}
	return nil
}

func (p *Process) end(ctx context.Context, s syscall.Signal) error {
	p.mu.Lock()
	pid, exited := p.pid, p.exited
	if pid == 0 {
		p.mu.Unlock()
		return nil
	}
	p.blamed = true
	target := -pid
	if s != syscall.SIGKILL {
		target = pid // what it started is its to end
	}
	err := syscall.Kill(target, s)
	p.mu.Unlock()
	if err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("%s to %s: %w", s, p.Name, err)
	}
	select {
	case <-exited:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// AwaitReady waits until the process runs and is ready.
func (p *Process) AwaitReady(ctx context.Context) error {
	if err := p.await(ctx, func() bool { return p.pid != 0 }); err != nil {
		return fmt.Errorf("%s does not run: %w", p.Name, err)
	}
	if err := until(ctx, p.Ready); err != nil {
		return fmt.Errorf("%s is not ready: %w", p.Name, err)
	}
	return nil
}

// poll is the pause between two looks at whether something holds.
const poll = 20 * time.Millisecond

// until calls f until it returns nil; when ctx ends first, the last error that
// f had of its own is returned with that of ctx.
func until(ctx context.Context, f func(context.Context) error) error {
	var own error
	for {
		err := f(ctx)
		if err == nil {
			return nil
		}
		if own != nil && ctx.Err() != nil {
			err = own // f was interrupted, and says only that
		}
		own = err
		if ended := pause(ctx, poll); ended != nil {
			return fmt.Errorf("%w: %w", ended, err)
		}
	}
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
