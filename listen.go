package argosy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"
)

// listen opens the three listeners; they accept once the fleet serves.
func (f *Fleet) listen(context.Context) error {
	for _, l := range []struct {
		flag, addr string
		into       *net.Listener
	}{
		{"http", f.set.HTTP, &f.lines.http},
		{"grpc", f.set.GRPC, &f.lines.grpc},
		{"admin", f.set.Admin, &f.lines.admin},
	} {
		lis, err := net.Listen("tcp", l.addr)
		if errors.Is(err, syscall.EADDRINUSE) {
			return fmt.Errorf("--%s %s: the address is in use: stop what uses it, or choose another (127.0.0.1:0 takes a free port)", l.flag, l.addr)
		}
		if err != nil {
			return &usageError{fmt.Errorf("--%s %s: %w", l.flag, l.addr, err)}
		}
		*l.into = lis
		f.onClose("close the "+l.flag+" listener", func(context.Context) error {
			if err := lis.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
				return err
			}
			return nil
		})
	}
	for _, s := range f.services {
		s.BindPlace(f.set.Data, reachable(f.lines.http.Addr()), f.signer)
		s.BindOrigin(f.origin())
	}
	return nil
}

// addrs returns the addresses of the listeners.
func (l lines) addrs() Addrs {
	return Addrs{HTTP: reachable(l.http.Addr()), GRPC: reachable(l.grpc.Addr()), Admin: reachable(l.admin.Addr())}
}

// reachable returns an address that this machine can connect to: a listener
// on all interfaces is reached on the loopback one.
func reachable(a net.Addr) string {
	host, port, err := net.SplitHostPort(a.String())
	if err != nil {
		return a.String()
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

// write puts the addresses into a file, atomically, so that whoever waits for
// the file never reads half of it.
func (l lines) write(path string) error {
	if path == "" {
		return nil
	}
	b, err := json.Marshal(l.addrs())
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".addr-*")
	if err != nil {
		return fmt.Errorf("--addr-file: %w", err)
	}
	_, werr := tmp.Write(append(b, '\n'))
	if err := errors.Join(werr, tmp.Chmod(0o644), tmp.Close()); err != nil {
		return fmt.Errorf("--addr-file: %w", errors.Join(err, os.Remove(tmp.Name())))
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return fmt.Errorf("--addr-file: %w", err)
	}
	return nil
}
