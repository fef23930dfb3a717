package argosy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
)

// freshGrace is how long a drain waits for the first request of a connection
// that was just made. Clients open connections that they may never use, and
// net/http would wait five seconds for each.
const freshGrace = 250 * time.Millisecond

// drainable is an HTTP server that can be drained quickly.
type drainable struct {
	*http.Server
	mu    sync.Mutex
	fresh map[net.Conn]bool // connections that have not sent anything yet
}

func newDrainable(s *http.Server) *drainable {
	d := &drainable{Server: s, fresh: map[net.Conn]bool{}}
	s.ConnState = d.observe
	return d
}

func (d *drainable) observe(c net.Conn, state http.ConnState) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if state == http.StateNew {
		d.fresh[c] = true
		return
	}
	delete(d.fresh, c)
}

// drain waits for the requests under way, and breaks them off when ctx ends first.
func (d *drainable) drain(ctx context.Context) error {
	grace := time.AfterFunc(freshGrace, d.closeFresh)
	defer grace.Stop()
	if err := d.Shutdown(ctx); err != nil {
		return errors.Join(fmt.Errorf("requests were broken off: %w", err), d.Close())
	}
	return nil
}

func (d *drainable) closeFresh() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for c := range d.fresh {
		_ = c.Close() // its client has not sent anything that could be lost
	}
}
