// Command writer writes to one engine of a data directory until it is killed,
// and says what it has tried and what was acknowledged; or it lists what is
// there. The tests of power cuts hold the two against each other.
//
//	writer sqlite|broker DIR ROUND   prints "try ID" before and "ack ID" after each write
//	writer sqlite|broker DIR         prints each ID that is there, as often as it is
//
// IDs on the standard input are written first: those of a round before whose
// acknowledgement nobody saw.
package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"sync"
)

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: writer sqlite|broker DIR [ROUND]")
		os.Exit(2)
	}
	if err := run(context.Background(), os.Args[1], os.Args[2], os.Args[3:]); err != nil {
		fmt.Fprintln(os.Stderr, "writer:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, engine, dir string, round []string) error {
	write, list := writeSQLite, listSQLite
	if engine == "broker" {
		write, list = writeBroker, listBroker
	}
	if len(round) == 0 {
		out := bufio.NewWriter(os.Stdout)
		if err := list(ctx, dir, func(id string) { fmt.Fprintln(out, id) }); err != nil {
			return err
		}
		return out.Flush()
	}
	var again []string
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		again = append(again, lines.Text())
	}
	return write(ctx, dir, &account{round: round[0], again: again, out: os.Stdout})
}

// account is what the writer says. All methods may be used concurrently.
type account struct {
	round string

	mu    sync.Mutex
	again []string // to write before anything new
	n     int
	out   io.Writer
}

// next returns what to write next, and has said so.
func (a *account) next() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var id string
	if last := len(a.again) - 1; last >= 0 {
		id, a.again = a.again[last], a.again[:last]
	} else {
		a.n++
		id = fmt.Sprintf("r%s-%d", a.round, a.n)
	}
	fmt.Fprintln(a.out, "try", id)
	return id
}

// done says that a write was acknowledged.
func (a *account) done(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	fmt.Fprintln(a.out, "ack", id)
}
