package supervise

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"runtime"
	"sync"
	"time"
)

// Spec says what to run.
type Spec struct {
	// Name is unique among the processes of a fleet, as in "order-1".
	Name string
	// Command is the program and its arguments. Required.
	Command []string
	// Env is the environment, as os.Environ has it. Nil: the supervisor's.
	Env []string
	// Output receives what the process prints, from one goroutine at a time.
	// Nil: discarded.
	Output io.Writer
	// Ready asks the running process whether it is ready. Nil: it is, once it
	// runs.
	Ready func(ctx context.Context) error
	// Grace is how long the process may take to end when it is stopped, before
	// it is killed. Zero: 20 s.
	Grace time.Duration
}

// State is where a process is in its life.
type State string

// The states.
const (
	Starting State = "starting"
	Ready    State = "ready"
	Unready  State = "not ready" // it was ready, and is not now
	Waiting  State = "waiting"   // it died, and is started again after a pause
	Stopping State = "stopping"
	Stopped  State = "stopped"
)

// Status is what is known of a process.
type Status struct {
	Name     string
	State    State
	PID      int       // 0: none runs
	Since    time.Time // of the state
	Restarts int
	// Deaths are those in a row, since the process was last ready for a while.
	Deaths int
	// ExitCode is that of the last process that ended: -1 when a signal ended
	// it or it could not be started. Why tells it in words; "" when none has
	// ended.
	ExitCode int
	Why      string
	// Pause is how long a process that waits does so.
	Pause time.Duration
}

// Config is what processes have in common.
type Config struct {
	Pace Pace
	// Changed is told of every new state. It is called from several
	// goroutines, and holds up the process it is about. Nil: nobody is told.
	Changed func(Status)
}

// Process is one that is kept running. Safe for concurrent use.
type Process struct {
	spec     Spec
	pace     Pace
	changed  func(Status)
	ready    chan struct{} // closed when it was ready for the first time
	once     sync.Once
	stop     chan struct{} // closed when it is to end
	stopOnce sync.Once
	kill     chan struct{} // closed when it is to end at once
	killOnce sync.Once
	done     chan struct{} // closed when nothing of it runs any more
	ended    error         // how the process that was stopped ended; after done

	mu      sync.Mutex
	status  Status
	readyAt time.Time // of the process that runs; zero: it is not ready
}

// Start starts a process and keeps it running until it is stopped.
func Start(spec Spec, c Config) *Process {
	if spec.Grace == 0 {
		spec.Grace = 20 * time.Second
	}
	if spec.Ready == nil {
		spec.Ready = func(context.Context) error { return nil }
	}
	if c.Changed == nil {
		c.Changed = func(Status) {}
	}
	p := &Process{
		spec: spec, pace: c.Pace.orDefaults(), changed: c.Changed,
		ready: make(chan struct{}), stop: make(chan struct{}), kill: make(chan struct{}), done: make(chan struct{}),
		status: Status{Name: spec.Name, State: Starting, Since: time.Now()},
	}
	go p.run()
	return p
}

// Ready is closed when the process has been ready for the first time.
func (p *Process) Ready() <-chan struct{} { return p.ready }

// Done is closed when the process was stopped and has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Status returns what is known now.
func (p *Process) Status() Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.status
}

// Stop asks the process to end, kills it with its group after the grace or when
// ctx ends, and returns when it has ended, with an error unless it ended well.
// It is idempotent.
func (p *Process) Stop(ctx context.Context) error {
	p.stopOnce.Do(func() { close(p.stop) })
	select {
	case <-p.done:
	case <-ctx.Done():
		p.Kill()
	}
	return p.ended
}

// Kill kills the process with its group and returns when it has ended.
func (p *Process) Kill() {
	p.killOnce.Do(func() { close(p.kill) })
	p.stopOnce.Do(func() { close(p.stop) })
	<-p.done
}

// run starts the process again and again until it is stopped.
func (p *Process) run() {
	defer close(p.done)
	runtime.LockOSThread() // the kernel ends a child when the thread that started it does
	for {
		p.runOnce()
		if p.isStopped() {
			p.update(func(s *Status) { s.State, s.PID = Stopped, 0 })
			return
		}
		var pause time.Duration
		p.update(func(s *Status) {
			s.Deaths++
			// One that was ready and ended well was asked to, by somebody who wants
			// it restarted.
			if !p.readyAt.IsZero() && (s.ExitCode == 0 || time.Since(p.readyAt) >= p.pace.Settled) {
				s.Deaths = 1
			}
			pause = p.pace.pause(s.Deaths)
			s.State, s.PID, s.Pause = Waiting, 0, pause
			p.readyAt = time.Time{}
		})
		timer := time.NewTimer(pause)
		select {
		case <-p.stop:
			timer.Stop()
			p.update(func(s *Status) { s.State = Stopped })
			return
		case <-timer.C:
		}
		p.update(func(s *Status) { s.State, s.Pause = Starting, 0; s.Restarts++ })
	}
}

func (p *Process) isStopped() bool {
	select {
	case <-p.stop:
		return true
	default:
		return false
	}
}

// runOnce runs the process once, until it has ended.
func (p *Process) runOnce() {
	cmd := exec.Command(p.spec.Command[0], p.spec.Command[1:]...)
	cmd.Env = p.spec.Env
	cmd.Stdout, cmd.Stderr = p.spec.Output, p.spec.Output
	cmd.SysProcAttr = attributes()
	cmd.WaitDelay = time.Second // what it started may hold its output open
	if err := cmd.Start(); err != nil {
		p.update(func(s *Status) { s.ExitCode, s.Why = -1, err.Error() })
		return
	}
	p.update(func(s *Status) { s.PID = cmd.Process.Pid })
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	ctx, cancel := context.WithCancel(context.Background())
	var watching sync.WaitGroup
	watching.Go(func() { p.watch(ctx) })
	err, stopped := p.attend(cmd, exited)
	cancel()
	watching.Wait()
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil // it ended well; only its output was held open
	}
	if stopped && err != nil {
		p.ended = fmt.Errorf("%s: %w", p.spec.Name, err)
	}
	p.update(func(s *Status) {
		s.ExitCode, s.Why = cmd.ProcessState.ExitCode(), cmd.ProcessState.String()
	})
}

// attend waits for the end of the process, and brings it about when it is
// stopped; it then reports so.
func (p *Process) attend(cmd *exec.Cmd, exited <-chan error) (err error, stopped bool) {
	select {
	case err := <-exited:
		return err, false
	case <-p.stop:
	}
	p.update(func(s *Status) { s.State = Stopping })
	terminate(cmd.Process)
	grace := time.NewTimer(p.spec.Grace)
	defer grace.Stop()
	select {
	case err := <-exited:
		return err, true
	case <-grace.C:
		killGroup(cmd.Process)
		<-exited
		return fmt.Errorf("it did not end within %s and was killed", p.spec.Grace), true
	case <-p.kill:
		killGroup(cmd.Process)
		<-exited
		return errors.New("killed"), true
	}
}

// watch asks the process whether it is ready, until ctx ends.
func (p *Process) watch(ctx context.Context) {
	for {
		every := p.pace.Poll
		ask, cancel := context.WithTimeout(ctx, max(p.pace.Watch, time.Second))
		err := p.spec.Ready(ask)
		cancel()
		if ctx.Err() != nil {
			return
		}
		if p.note(err == nil) {
			every = p.pace.Watch
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(every):
		}
	}
}

// note keeps whether the process is ready, and returns whether it has ever been.
func (p *Process) note(ready bool) bool {
	p.mu.Lock()
	state, been := p.status.State, !p.readyAt.IsZero()
	p.mu.Unlock()
	switch {
	case ready && (state == Starting || state == Unready):
		p.update(func(s *Status) {
			if s.State != Starting && s.State != Unready {
				return // it is being stopped
			}
			s.State = Ready
			if !been {
				p.readyAt = time.Now()
			}
		})
		p.once.Do(func() { close(p.ready) })
		return true
	case !ready && state == Ready:
		p.update(func(s *Status) {
			if s.State == Ready {
				s.State = Unready
			}
		})
	}
	return been
}

// update changes the status and tells of a new state.
func (p *Process) update(change func(*Status)) {
	p.mu.Lock()
	before := p.status.State
	change(&p.status)
	now := p.status
	if now.State != before {
		now.Since = time.Now()
		p.status.Since = now.Since
	}
	p.mu.Unlock()
	if now.State != before {
		p.changed(now)
	}
}
