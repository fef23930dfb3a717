//go:build !unix

package supervise

import (
	"os"
	"syscall"
)

func attributes() *syscall.SysProcAttr { return nil }

// terminate kills: this system has no signal that asks.
func terminate(p *os.Process) { killGroup(p) }

func killGroup(p *os.Process) {
	_ = p.Kill() // it may have gone
}
