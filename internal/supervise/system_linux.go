package supervise

import "syscall"

// attributes make the process the first of a group of its own; the kernel asks
// it to end when the supervisor dies.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
