package embedded

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"
)

// pace is how the server is watched.
type pace struct {
	calm      time.Duration // between probes of a server that is well
	alarmed   time.Duration // between probes of one that may not be
	patience  time.Duration // of one probe
	failures  int           // in a row, until the server is started again
	roomBytes int           // what the disk must take first
}

func ordinaryPace() pace {
	return pace{calm: 5 * time.Second, alarmed: 500 * time.Millisecond, patience: 3 * time.Second, failures: 3, roomBytes: 1 << 20}
}

// watch notices that the server stores nothing any more, and has it started
// again once the disk has room.
//
// JetStream keeps the first error of a write to a stream's files for as long as
// it runs: after a full disk the stream answers no publication, however much
// room there is by then, while the server and its other streams look well.
type watch struct {
	pace
	probe   func(ctx context.Context) error // of one stream, which is cheap
	events  func(ctx context.Context) error // of the stream of events
	room    func(bytes int) error           // whether the disk takes as much
	restart func() error
	report  func(restarts int64, err error) // of a restart, that worked or not

	alarm    chan struct{} // holds one
	doubted  atomic.Bool   // whether events are stored, since the last check
	restarts atomic.Int64
}

// suspect has the server probed soon. It may be called from any goroutine.
func (w *watch) suspect() {
	w.doubted.Store(true)
	select {
	case w.alarm <- struct{}{}:
	default: // somebody was quicker
	}
}

// run watches until ctx ends. A restart that is under way then is finished.
func (w *watch) run(ctx context.Context) {
	failed, soon := 0, false
	timer := time.NewTimer(w.calm)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.alarm: // not at once: alarms come as often as somebody publishes
			if !soon {
				soon = true
				timer.Reset(w.alarmed)
			}
			continue
		case <-timer.C:
		}
		if w.check(ctx) == nil {
			failed = 0
		} else if failed++; failed >= w.failures && ctx.Err() == nil && w.room(w.roomBytes) == nil && w.tryRestart() == nil {
			failed = 0
		}
		if soon = w.doubted.Load(); soon {
			timer.Reset(w.alarmed)
		} else {
			timer.Reset(w.calm)
		}
	}
}

// check probes what there is reason to probe.
func (w *watch) check(ctx context.Context) error {
	doubted := w.doubted.Swap(false)
	ctx, cancel := context.WithTimeout(ctx, w.patience)
	defer cancel()
	err := w.probe(ctx)
	if err == nil && doubted {
		err = w.events(ctx)
	}
	if err != nil {
		w.doubted.Store(true)
	}
	return err
}

func (w *watch) tryRestart() error {
	err := w.restart()
	if err == nil {
		w.restarts.Add(1)
	}
	w.report(w.restarts.Load(), err)
	return err
}

// roomIn returns what tells whether the disk under a directory takes so many bytes.
func roomIn(dir string) func(bytes int) error {
	return func(bytes int) error {
		f, err := os.CreateTemp(dir, "room-*")
		if err != nil {
			return err
		}
		_, err = f.Write(make([]byte, bytes))
		err = errors.Join(err, f.Sync(), f.Close(), os.Remove(f.Name()))
		if err != nil {
			return fmt.Errorf("the broker's disk takes nothing: %w", err)
		}
		return nil
	}
}
