// Command natsd is a NATS server with JetStream that syncs every message
// before it acknowledges it: a broker that keeps its word when it is killed.
//
//	natsd HOST PORT DIRECTORY [NAME CLUSTER-PORT ROUTES]
//
// With a name, the port for the other servers and their addresses, separated by
// commas, it is a node of a cluster. It ends with 0 at SIGTERM.
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
	if len(os.Args) != 4 && len(os.Args) != 7 {
		fmt.Fprintln(os.Stderr, "usage: natsd HOST PORT DIRECTORY [NAME CLUSTER-PORT ROUTES]")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := serve(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "natsd:", err)
		os.Exit(1)
	}
}

// options are those of the server that the arguments ask for.
func options(args []string) (*server.Options, error) {
	port, err := strconv.ParseUint(args[1], 10, 16)
	if err != nil {
		return nil, fmt.Errorf("port: %w", err)
	}
	o := &server.Options{
		ServerName: "natsd", Host: args[0], Port: int(port), NoSigs: true,
		JetStream: true, StoreDir: args[2], SyncAlways: true,
		// By default it is what is free now: a server that is started while the
		// disk is full would take nothing when it is free again.
		JetStreamMaxStore: 1 << 40,
	}
	if len(args) == 3 {
		return o, nil
	}
	if port, err = strconv.ParseUint(args[4], 10, 16); err != nil {
		return nil, fmt.Errorf("port of the cluster: %w", err)
	}
	o.ServerName, o.Cluster = args[3], server.ClusterOpts{Name: "natsd", Host: o.Host, Port: int(port)}
	o.Routes = server.RoutesFromStr(args[5])
	return o, nil
}

func serve(ctx context.Context, args []string) error {
	o, err := options(args)
	if err != nil {
		return err
	}
	s, err := server.NewServer(o)
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
