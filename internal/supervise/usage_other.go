//go:build !linux

package supervise

import "errors"

// UsageOf returns what a process has used; it is known on Linux only.
func UsageOf(int) (Usage, error) { return Usage{}, errors.ErrUnsupported }
