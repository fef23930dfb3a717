// Command natsd is a NATS server with JetStream that syncs every message
// before it acknowledges it: a broker that keeps its word when it is killed.
//
//	natsd HOST PORT DIRECTORY
//
// It ends with 0 at SIGTERM.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: natsd HOST PORT DIRECTORY")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := serve(ctx, os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, "natsd:", err)
		os.Exit(1)
	}
}

func serve(ctx context.Context, host, port, dir string) error {
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return fmt.Errorf("port: %w", err)
	}
	s, err := server.NewServer(&server.Options{
		ServerName: "natsd", Host: host, Port: int(number), NoSigs: true,
		JetStream: true, StoreDir: dir, SyncAlways: true,
		// By default it is what is free now: a server that is started while the
		// disk is full would take nothing when it is free again.
		JetStreamMaxStore: 1 << 40,
	})
	if err != nil {
		return err
	}
	s.ConfigureLogger()
	s.Start()
	defer s.WaitForShutdown()
	defer s.Shutdown()
	if !s.ReadyForConnections(20 * time.Second) {
		return errors.New("not ready within 20 s")
	}
	<-ctx.Done()
	return nil
}
