//go:build linux

package torture

import (
	"context"
	"errors"
	"strings"
	"time"
)

// Restart ends each of the processes in turn with SIGTERM and starts it again,
// the next when the one before is ready: a deploy. A process that does not end
// within its Grace fails the run. One that cannot drain cleanly, because it is
// cut off from its store at that moment, say, is noted: it must drain cleanly
// at the end of the run, when everything is healed.
func Restart(all ...*Process) Fault {
	var names []string
	for _, p := range all {
		names = append(names, p.Name)
	}
	return Fault{
		Name: "roll " + strings.Join(names, ", "), Targets: names,
		Inject: func(ctx context.Context, s *Scene) (Heal, error) {
			for _, p := range all {
				if err := roll(ctx, p, s); err != nil {
					return nil, err
				}
			}
			return nil, nil
		},
	}
}

func roll(ctx context.Context, p *Process, s *Scene) error {
	p.Hold()
	begun := time.Now()
	err := p.Terminate(context.WithoutCancel(ctx)) // a drain is let end; Grace bounds it
	p.Release()
	var unclean *UncleanError
	if errors.As(err, &unclean) {
		s.Note("%v", err)
	} else if err != nil {
		return err
	}
	drained := time.Now()
	if err := p.AwaitReady(ctx); err != nil {
		return err
	}
	s.Note("%s drained in %s, ready in %s", p.Name, short(drained.Sub(begun)), short(time.Since(drained)))
	return nil
}
