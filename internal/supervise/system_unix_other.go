//go:build unix && !linux

package supervise

import "syscall"

// attributes make the process the first of a group of its own.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
