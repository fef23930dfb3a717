//go:build linux

package torture

import (
	"context"
	"time"
)

// Kill ends the process with SIGKILL, and starts it again up to three seconds
// later.
func Kill(p *Process) Fault {
	return Fault{
		Name: "kill " + p.Name, Targets: []string{p.Name}, Max: 3 * time.Second,
		Inject: func(ctx context.Context, s *Scene) (Heal, error) {
			p.Hold()
			if err := p.Kill(ctx); err != nil {
				p.Release()
				return nil, err
			}
			return func(ctx context.Context) error {
				p.Release()
				begun := time.Now()
				err := p.AwaitReady(ctx)
				s.Note("ready %s after its start", short(time.Since(begun)))
				return err
			}, nil
		},
	}
}
