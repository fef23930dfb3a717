//go:build unix

package e2e

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/argosy-go/argosy/internal/pgtest"
	"github.com/argosy-go/argosy/shop/partner"
	"github.com/argosy-go/argosy/shop/witness"
)

// The leases of the replicas are short, so that many rounds fit into minutes.
const (
	replicaLease = 2 * time.Second
	replicaStop  = replicaLease + 200*time.Millisecond // a replica sleeps at least this long
)

// replicas are two shops over one Postgres and one NATS server.
type replicas struct {
	t     *testing.T
	store string // the test's own URL of the database
	bin   string
	env   []string
	each  [2]*fleet
	load  *customers
}

// TestTwoReplicasWriteNothingUnderAnOldEpoch stops one of two replicas of the
// shop past its leases, under load, and lets it go on, again and again:
// ARGOSY_REPLICA_ROUNDS times. The database itself watches who writes.
func TestTwoReplicasWriteNothingUnderAnOldEpoch(t *testing.T) {
	if !pgtest.Available() {
		t.Log("NOT TESTED: there is no Postgres")
		return
	}
	r := startReplicas(t, build(t, ""))
	n := rounds(t, "ARGOSY_REPLICA_ROUNDS", 3)
	r.rounds(n)
	writes, runs, leases, old := r.watched()
	if old != "" {
		t.Errorf("written under an old epoch:\n%s", old)
	}
	if runs == 0 || leases == 0 {
		t.Errorf("%d runs of sagas and %d leases changed hands in %d rounds: the replicas did not sleep past them", runs, leases, n)
	}
	report := r.green()
	t.Logf("%d rounds: %d writes watched, %d runs of sagas and %d leases changed hands, %d orders acknowledged\n%s", n, writes, runs, leases, r.load.acked, report)
}

// TestAFenceThatIsRemovedIsMissed is the same without the fence: what was
// watched must show it of the runs of sagas and of the relay.
func TestAFenceThatIsRemovedIsMissed(t *testing.T) {
	if !pgtest.Available() {
		t.Log("NOT TESTED: there is no Postgres")
		return
	}
	r := startReplicas(t, build(t, "mutant"), "ARGOSY_MUTANT=no-fence")
	for round := range mutantRounds {
		r.rounds(1)
		_, _, _, old := r.watched()
		if strings.Contains(old, ": run ") && strings.Contains(old, ": an event of ") {
			t.Logf("%d writes under an old epoch in %d rounds:\n%.1000s", strings.Count(old, "\n")+1, round+1, old)
			return
		}
	}
	_, _, _, old := r.watched()
	t.Errorf("%d rounds, and the fence was not missed of both:\n%.2000s", mutantRounds, old)
}

// startReplicas starts the server and the replicas. The first has bank and
// carrier beside it; the second is told where they are.
func startReplicas(t *testing.T, bin string, env ...string) *replicas {
	t.Helper()
	r := &replicas{t: t, bin: bin, store: pgtest.Database(t)}
	dir := t.TempDir()
	r.env = append(env,
		"ARGOSY_BROKER="+startNATS(t), "ARGOSY_AUTH_KEY="+filepath.Join(dir, "auth.key"),
		"ORDER_SAGA_LEASE="+replicaLease.String(),
	)
	for _, s := range []string{"CATALOG", "CART", "ORDER", "SHIPPING", "NOTIFY"} {
		r.env = append(r.env, s+"_LEASE_TTL="+replicaLease.String())
	}
	r.start(0, dir)
	r.start(1, filepath.Join(dir, "second"), r.outside(dir)...)
	r.watch()
	r.load = newCustomers(t, dir)
	r.load.products = r.each[0].products()
	return r
}

// start starts a replica, which says who it is on every connection.
func (r *replicas) start(i int, dir string, env ...string) {
	r.t.Helper()
	u, err := url.Parse(r.store)
	if err != nil {
		r.t.Fatal(err)
	}
	q := u.Query()
	q.Set("application_name", fmt.Sprint("replica-", i))
	q.Set("pool_max_conns", "6")
	u.RawQuery = q.Encode()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		r.t.Fatal(err)
	}
	r.each[i] = start(r.t, r.bin, dir, append(append(r.env, "ARGOSY_STORE="+u.String()), env...)...)
	r.each[i].signIn("customer@shop.test")
}

// outside tells a replica of the bank and the carrier that work in dir.
func (r *replicas) outside(dir string) []string {
	r.t.Helper()
	secret, err := partner.Secret(dir)
	if err != nil {
		r.t.Fatal(err)
	}
	env := []string{"WITNESS_START=false", "PAYMENT_WEBHOOK_SECRET=" + secret, "SHIPPING_WEBHOOK_SECRET=" + secret}
	for name, variable := range map[string]string{"bank": "PAYMENT_BANK_URL", "carrier": "SHIPPING_CARRIER_URL"} {
		a, ok := witness.Find(r.t.Context(), partner.Directory(dir), name)
		if !ok {
			r.t.Fatalf("the %s does not answer", name)
		}
		env = append(env, variable+"="+a.URL())
	}
	return env
}

// startNATS starts a NATS server that syncs what it acknowledges, and returns its URL.
func startNATS(t *testing.T) string {
	t.Helper()
	program := filepath.Join(binaries, "natsd")
	if out, err := exec.Command("go", "build", "-o", program, "./natsd").CombinedOutput(); err != nil {
		t.Fatalf("build natsd: %v\n%s", err, out)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	host, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	out := &output{}
	cmd := exec.Command(program, host, port, t.TempDir())
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have gone
		if err := cmd.Wait(); err != nil {
			t.Errorf("natsd: %v\n%s", err, out)
		}
	})
	for deadline, tick := time.After(20*time.Second), time.Tick(5*time.Millisecond); ; {
		if conn, err := net.Dial("tcp", net.JoinHostPort(host, port)); err == nil {
			_ = conn.Close() // it was only to see whether anybody answers
			return "nats://" + net.JoinHostPort(host, port)
		}
		select {
		case <-tick:
		case <-deadline:
			t.Fatalf("natsd does not answer\n%s", out)
		}
	}
}

// watching makes the database take down who writes what, in the transaction
// of the write. A replica is known by its connections (application_name). The
// triggers read nothing: what they read would be in conflict with others.
const watching = `
CREATE SCHEMA watch;
CREATE TABLE watch.log (
	seq BIGSERIAL, at TIMESTAMPTZ DEFAULT clock_timestamp(), app TEXT DEFAULT current_setting('application_name'),
	kind TEXT, id TEXT, was TEXT, holder TEXT, old BIGINT, epoch BIGINT
);
CREATE FUNCTION watch.run() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN
	INSERT INTO watch.log (kind, id, was, holder, old, epoch)
		VALUES ('run', NEW.saga || ' ' || NEW.id, CASE TG_OP WHEN 'UPDATE' THEN OLD.holder END, NEW.holder, CASE TG_OP WHEN 'UPDATE' THEN OLD.epoch END, NEW.epoch);
	RETURN NULL;
END $$;
CREATE FUNCTION watch.lease() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN
	INSERT INTO watch.log (kind, id, was, holder, old, epoch)
		VALUES ('lease', NEW.name, CASE TG_OP WHEN 'UPDATE' THEN OLD.holder END, NEW.holder, CASE TG_OP WHEN 'UPDATE' THEN OLD.epoch END, NEW.epoch);
	RETURN NULL;
END $$;
CREATE FUNCTION watch.sent() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN
	INSERT INTO watch.log (kind, id) VALUES ('sent', 'event/relay/' || OLD.part);
	RETURN NULL;
END $$;
CREATE TRIGGER watch_run AFTER INSERT OR UPDATE ON "order".argosy_saga_runs FOR EACH ROW EXECUTE FUNCTION watch.run();
CREATE TRIGGER watch_lease AFTER INSERT OR UPDATE ON "order".argosy_leases FOR EACH ROW EXECUTE FUNCTION watch.lease();
CREATE TRIGGER watch_sent AFTER DELETE ON "order".argosy_outbox FOR EACH ROW EXECUTE FUNCTION watch.sent();

-- An instance belongs to the replica that first wrote its name.
CREATE VIEW watch.instances AS SELECT DISTINCT ON (holder) holder, app FROM watch.log
	WHERE holder <> '' AND holder IS DISTINCT FROM was ORDER BY holder, seq;

-- Runs and leases that were taken from another replica, under a new epoch.
CREATE VIEW watch.taken AS SELECT l.* FROM watch.log l JOIN watch.instances i ON i.holder = l.was
	WHERE i.app <> l.app AND l.epoch > l.old;

-- Written under an old epoch: what another replica holds, unless the write is
-- the claim that raises the epoch; a smaller epoch than before; and an event
-- marked as sent while another replica relays its partition, or nobody.
CREATE VIEW watch.violations AS
	SELECT l.seq, l.at, l.app, format('%s %s: epoch %s after %s of %s, which is %s', l.kind, l.id, l.epoch, l.old, l.was, i.app) AS what
		FROM watch.log l LEFT JOIN watch.instances i ON i.holder = l.was
		WHERE l.epoch < l.old OR i.app <> l.app AND l.epoch = l.old
	UNION ALL SELECT l.seq, l.at, l.app, format('an event of %s, which %s relays', l.id, coalesce(i.app, 'nobody'))
		FROM watch.log l
		JOIN LATERAL (SELECT holder FROM watch.log c WHERE c.kind = 'lease' AND c.id = l.id AND c.seq < l.seq ORDER BY seq DESC LIMIT 1) c ON true
		LEFT JOIN watch.instances i ON i.holder = c.holder
		WHERE l.kind = 'sent' AND (c.holder = '' OR i.app <> l.app);
CREATE INDEX ON watch.log (id, seq) WHERE kind = 'lease';
`

// watch has the database watch.
func (r *replicas) watch() {
	r.t.Helper()
	pgtest.Exec(r.t, r.store, watching)
}

// watched returns how much was written, how many runs and leases were taken
// over while another had them, and what was written under an old epoch.
func (r *replicas) watched() (writes, runs, leases int64, old string) {
	r.t.Helper()
	pgtest.QueryRow(r.t, r.store, `SELECT (SELECT count(*) FROM watch.log),
		(SELECT count(*) FROM watch.taken WHERE kind = 'run'), (SELECT count(*) FROM watch.taken WHERE kind = 'lease'),
		(SELECT coalesce(string_agg(at || ' ' || app || ': ' || what, E'\n' ORDER BY seq), '') FROM watch.violations)`, &writes, &runs, &leases, &old)
	return writes, runs, leases, old
}

// rounds stops one replica past its leases and lets it go on, n times, while
// customers come to both. It is stopped while it has runs of sagas, and sleeps
// until the other, which never stops, has taken them over. Who comes to a
// replica that sleeps waits.
func (r *replicas) rounds(n int) {
	r.t.Helper()
	stop := make(chan struct{})
	var shopping []*sync.WaitGroup
	for _, f := range r.each {
		shopping = append(shopping, r.load.shop(f, 3, stop))
	}
	for round := range n {
		i := round % 2
		pid := r.each[i].cmd.Process.Pid
		r.await(i, "has no runs", func(held int) bool { return held > 0 })
		<-time.After(rand.N(100 * time.Millisecond)) // at any instant
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			r.t.Fatal(err)
		}
		<-time.After(replicaStop)
		r.await(1-i, "has not taken over the runs of the one that sleeps", func(int) bool { return r.held(i) == 0 })
		if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
			r.t.Fatal(err)
		}
		<-time.After(300 * time.Millisecond) // for it to do what it was about to
		if round%20 == 19 {
			r.t.Logf("after %d rounds: %s", round+1, r.busy())
		}
	}
	close(stop)
	for _, s := range shopping {
		s.Wait()
	}
}

// held returns how many runs of sagas a replica has.
func (r *replicas) held(i int) (n int) {
	r.t.Helper()
	pgtest.QueryRow(r.t, r.store, fmt.Sprintf(`SELECT count(*) FROM "order".argosy_saga_runs
		JOIN watch.instances USING (holder) WHERE app = 'replica-%d'`, i), &n)
	return n
}

// await waits for what a replica has.
func (r *replicas) await(i int, missing string, ok func(held int) bool) {
	r.t.Helper()
	deadline := time.After(2 * time.Minute)
	for tick := time.Tick(20 * time.Millisecond); !ok(r.held(i)); {
		select {
		case <-tick:
		case <-deadline:
			r.t.Fatalf("replica %d %s\n%s\n%s\n%s", i, missing, r.busy(), tailOf(r.each[0]), tailOf(r.each[1]))
		}
	}
}

// busy says what has been watched and what the database does.
func (r *replicas) busy() string {
	r.t.Helper()
	writes, runs, leases, old := r.watched()
	var doing string
	pgtest.QueryRow(r.t, r.store, `SELECT coalesce(string_agg(format('%s: %s for %s, waits for %s %s: %s',
		application_name, state, clock_timestamp() - state_change, wait_event_type, wait_event, left(query, 200)), E'\n' ORDER BY state_change), '')
		FROM pg_stat_activity WHERE datname = current_database() AND state <> 'idle'`, &doing)
	return fmt.Sprintf("%d writes watched, %d runs of sagas and %d leases changed hands, under an old epoch: %q\n%s", writes, runs, leases, old, doing)
}

// green fails the test unless the audit is green.
func (r *replicas) green() report {
	r.t.Helper()
	for _, f := range r.each {
		r.load.settle(f)
	}
	cmd := exec.CommandContext(r.t.Context(), r.bin, "audit", "--data", r.each[0].dir, "--store", r.store, "--wait", "60s", "--output", "json")
	out, err := cmd.Output()
	var rep report
	if jerr := json.Unmarshal(out, &rep); jerr != nil || err != nil {
		r.t.Errorf("shop audit: %v %v\n%s\n%s\n%s", err, jerr, out, tailOf(r.each[0]), tailOf(r.each[1]))
	}
	return rep
}

// tailOf returns the last lines of a shop's log.
func tailOf(f *fleet) string {
	lines := strings.Split(f.out.String(), "\n")
	return strings.Join(lines[max(0, len(lines)-20):], "\n")
}
