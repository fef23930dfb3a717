//go:build linux

package torture

import (
	"context"
	"syscall"
	"time"
)

// Pause stops the process where it is, with SIGSTOP, and lets it go on with
// SIGCONT after between least and most: as a virtual machine that is moved, a
// long collection of garbage, or a laptop that is closed. Longer than the leases
// of the process, others take its work over, and it wakes up believing that
// it holds them.
func Pause(p *Process, least, most time.Duration) Fault {
	return Fault{
		Name: "pause " + p.Name, Targets: []string{p.Name}, Min: least, Max: most,
		Inject: func(context.Context, *Scene) (Heal, error) {
			if err := p.Signal(syscall.SIGSTOP); err != nil {
				return nil, err
			}
			return func(context.Context) error { return p.Signal(syscall.SIGCONT) }, nil
		},
	}
}
