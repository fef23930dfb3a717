package supervise

import "time"

// Usage is what a process has used.
type Usage struct {
	CPU    time.Duration // since its start
	Memory int64         // resident, in bytes
}
