//go:build unix

package supervise

import (
	"os"
	"syscall"
)

// terminate asks the process alone to end: it stops what it started itself.
func terminate(p *os.Process) {
	_ = p.Signal(syscall.SIGTERM) // it may have gone
}

// killGroup kills the process and what it started.
func killGroup(p *os.Process) {
	_ = syscall.Kill(-p.Pid, syscall.SIGKILL) // it may have gone
}
