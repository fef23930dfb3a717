package embedded

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"

	"github.com/nats-io/nats-server/v2/server"
)

// errDown: the server is being started again.
var errDown = errors.New("the broker is being started again")

// host runs one server after the other, all in the same directory and at the
// same address. It is what connections within the process are made to.
type host struct {
	opts    *server.Options
	log     *slog.Logger
	suspect func() // is told of every error that a server reports

	mu      sync.Mutex
	server  *server.Server // nil: none runs
	address string         // where the first one listens
}

// start starts a server.
func (h *host) start() error {
	s, err := server.NewServer(h.opts.Clone())
	if err != nil {
		return fmt.Errorf("start the broker: %w", err)
	}
	log := &logger{log: h.log, suspect: h.suspect}
	s.SetLoggerV2(log, false, false, false)
	s.Start()
	if fatal := log.fatal.Load(); fatal != nil {
		err = fmt.Errorf("start the broker: %w", *fatal)
	} else if !s.ReadyForConnections(readyWithin) {
		err = fmt.Errorf("the broker did not start within %s", readyWithin)
	}
	if err != nil {
		s.Shutdown()
		s.WaitForShutdown()
		return err
	}
	log.started.Store(true)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.server = s
	if addr, ok := s.Addr().(*net.TCPAddr); ok && h.address == "" {
		h.address, h.opts.Port = s.ClientURL(), addr.Port // the next one is found there too
	}
	return nil
}

// stop stops the server, if one runs.
func (h *host) stop() {
	h.mu.Lock()
	s := h.server
	h.server = nil
	h.mu.Unlock()
	if s != nil {
		s.Shutdown()
		s.WaitForShutdown()
	}
}

// restart stops the server and starts another, which reads what is on the disk.
func (h *host) restart() error {
	h.stop()
	return h.start()
}

// url returns where the servers listen, "" when they do not.
func (h *host) url() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.address
}

// InProcessConn makes a connection to the server that runs now.
func (h *host) InProcessConn() (net.Conn, error) {
	h.mu.Lock()
	s := h.server
	h.mu.Unlock()
	if s == nil {
		return nil, errDown
	}
	return s.InProcessConn()
}
