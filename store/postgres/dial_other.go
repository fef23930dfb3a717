//go:build !linux

package postgres

import (
	"syscall"
	"time"
)

// giveUpAfter leaves it to keepalives to notice a network that is cut.
func giveUpAfter(time.Duration) func(network, address string, c syscall.RawConn) error { return nil }
