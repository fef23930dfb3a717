package embedded_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/argosy-go/argosy/broker"
	"github.com/argosy-go/argosy/broker/embedded"
)

// childDir, in the environment, makes the test binary the process that is killed.
const (
	childDir   = "ARGOSY_TEST_BROKER_DIR"
	childRound = "ARGOSY_TEST_BROKER_ROUND"
)

const crashTopic = "crash.v1.Event"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		if err := publishForever(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// publishForever publishes from eight callers, in calls of one to five messages,
// and prints every id once it is acknowledged.
func publishForever(dir string) error {
	ctx := context.Background()
	b, err := embedded.Opener{}.Open(ctx, broker.OpenOptions{Dir: dir})
	if err != nil {
		return err
	}
	var callers errgroup.Group
	for p := range 8 {
		callers.Go(func() error {
			for n := 1; ; {
				var ms []broker.Message
				for range 1 + n%5 {
					id := fmt.Sprintf("r%s-p%d-%d", os.Getenv(childRound), p, n)
					ms = append(ms, broker.Message{ID: id, Topic: crashTopic, Partition: p, Body: []byte(id)})
					n++
				}
				if errs := b.Publish(ctx, ms); errs != nil {
					return errors.Join(errs...)
				}
				for _, m := range ms {
					fmt.Println(m.ID)
				}
			}
		})
	}
	return callers.Wait()
}

func TestAcknowledgedMessagesOutliveAKill(t *testing.T) {
	dir := t.TempDir()
	acked := map[string]bool{}
	for round := range 3 {
		killOnce(t, dir, round, 300, acked)
		found := readAll(t, dir, round)
		for id := range acked {
			if !found[id] {
				t.Errorf("round %d: %s was acknowledged and is lost", round, id)
			}
		}
	}
}

// killOnce runs a publishing process, kills it after it has printed n ids, and
// adds to acked what it printed.
func killOnce(t *testing.T, dir string, round, n int, acked map[string]bool) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childDir+"="+dir, fmt.Sprintf("%s=%d", childRound, round))
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	seen := 0
	for lines.Scan() {
		acked[lines.Text()] = true
		if seen++; seen == n {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || seen < n {
		t.Fatalf("the process ended by itself after %d ids: %v %s", seen, err, &stderr)
	}
}

// readAll opens the directory and returns the ids of all messages. It fails the
// test when one is there twice or a publisher's messages are out of order.
func readAll(t *testing.T, dir string, round int) map[string]bool {
	t.Helper()
	b := open(t, embedded.Opener{}, dir)
	defer b.Close()
	found := map[string]bool{}
	for p := range 8 {
		end := broker.Message{ID: fmt.Sprintf("end-%d-%d", round, p), Topic: crashTopic, Partition: p}
		if errs := b.Publish(t.Context(), []broker.Message{end}); errs != nil {
			t.Fatal(errs)
		}
		r, err := b.Subscribe(t.Context(), broker.Subscription{Consumer: "reader/" + end.ID, Topic: crashTopic, Partitions: []int{p}})
		if err != nil {
			t.Fatal(err)
		}
		last := map[int]int{}
		for !found[end.ID] {
			ds, err := r.Receive(t.Context(), 100)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range ds {
				if found[d.ID] {
					t.Errorf("%s is there twice", d.ID)
				}
				found[d.ID] = true
				var round, part, n int
				if _, err := fmt.Sscanf(d.ID, "r%d-p%d-%d", &round, &part, &n); err != nil {
					continue // an end mark
				}
				if n <= last[round] || part != p {
					t.Errorf("%s comes after number %d in partition %d", d.ID, last[round], p)
				}
				last[round] = n
			}
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
	return found
}
