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
	"strconv"
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
	replicaLease = time.Second
	replicaStop  = 1300 * time.Millisecond // at least this long a replica sleeps
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
	n := replicaRounds(t, 4)
	r.rounds(n)
	writes, stolen, old := r.watched()
	if old != "" {
		t.Errorf("written under an old epoch:\n%s", old)
	}
	if stolen == 0 {
		t.Error("no run of a saga ever changed hands: the replica did not sleep past its lease")
	}
	report := r.green()
	t.Logf("%d rounds: %d writes to runs of sagas and outboxes, %d runs changed hands, %d orders acknowledged\n%s", n, writes, stolen, r.load.acked, report)
}

// TestAFenceThatIsRemovedIsMissed is the same without the fence.
func TestAFenceThatIsRemovedIsMissed(t *testing.T) {
	if !pgtest.Available() {
		t.Log("NOT TESTED: there is no Postgres")
		return
	}
	r := startReplicas(t, build(t, "mutant"), "ARGOSY_MUTANT=no-fence")
	for round := range mutantRounds {
		r.rounds(1)
		if _, _, old := r.watched(); old != "" {
			t.Logf("after %d rounds:\n%.500s", round+1, old)
			return
		}
	}
	t.Errorf("%d rounds, and nobody missed the fence", mutantRounds)
}

func replicaRounds(t *testing.T, n int) int {
	t.Helper()
	text := os.Getenv("ARGOSY_REPLICA_ROUNDS")
	if text == "" {
		return n
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("ARGOSY_REPLICA_ROUNDS=%s is not a number above zero", text)
	}
	return n
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

// watching makes the database take down who writes what. A replica is known by
// its connections (application_name), an instance by the claims that the
// replica made in its name. Written under an old epoch is: a run that another
// instance holds, unless the write is the claim that raises the epoch, or a
// row of an outbox while another holds the lease of its partition.
const watching = `
CREATE SCHEMA watch;
CREATE TABLE watch.instances (holder TEXT PRIMARY KEY, app TEXT NOT NULL);
CREATE TABLE watch.violations (at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(), app TEXT NOT NULL, what TEXT NOT NULL);
CREATE SEQUENCE watch.writes;
CREATE SEQUENCE watch.stolen;

CREATE FUNCTION watch.app() RETURNS TEXT LANGUAGE sql AS $$ SELECT current_setting('application_name') $$;

CREATE FUNCTION watch.run() RETURNS TRIGGER LANGUAGE plpgsql AS $$
DECLARE owner TEXT;
BEGIN
	PERFORM nextval('watch.writes');
	IF NEW.holder <> '' AND (TG_OP = 'INSERT' OR NEW.holder <> OLD.holder) THEN
		INSERT INTO watch.instances VALUES (NEW.holder, watch.app()) ON CONFLICT DO NOTHING;
	END IF;
	IF TG_OP = 'INSERT' OR OLD.holder = '' THEN
		RETURN NULL;
	END IF;
	SELECT app INTO owner FROM watch.instances WHERE holder = OLD.holder;
	IF owner <> watch.app() AND NEW.epoch > OLD.epoch THEN
		PERFORM nextval('watch.stolen');
	ELSIF owner <> watch.app() OR NEW.epoch < OLD.epoch THEN
		INSERT INTO watch.violations (app, what) VALUES (watch.app(),
			format('run %s: step %s under epoch %s of %s, which %s holds', NEW.id, NEW.step, NEW.epoch, OLD.epoch, owner));
	END IF;
	RETURN NULL;
END $$;

CREATE FUNCTION watch.lease() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
	IF NEW.holder <> '' AND (TG_OP = 'INSERT' OR NEW.holder <> OLD.holder) THEN
		INSERT INTO watch.instances VALUES (NEW.holder, watch.app()) ON CONFLICT DO NOTHING;
	END IF;
	IF TG_OP = 'UPDATE' AND NEW.epoch < OLD.epoch THEN
		INSERT INTO watch.violations (app, what) VALUES (watch.app(), format('lease %s: epoch %s after %s', NEW.name, NEW.epoch, OLD.epoch));
	END IF;
	RETURN NULL;
END $$;

CREATE FUNCTION watch.sent() RETURNS TRIGGER LANGUAGE plpgsql AS $$
DECLARE owner TEXT;
BEGIN
	PERFORM nextval('watch.writes');
	SELECT app INTO owner FROM "order".argosy_leases JOIN watch.instances USING (holder)
		WHERE name IN ('event/relay', 'event/relay/' || OLD.part);
	IF owner <> watch.app() THEN
		INSERT INTO watch.violations (app, what) VALUES (watch.app(), format('event %s marked as sent, whose partition %s relays', OLD.id, owner));
	END IF;
	RETURN NULL;
END $$;

CREATE TRIGGER watch_run AFTER INSERT OR UPDATE ON "order".argosy_saga_runs FOR EACH ROW EXECUTE FUNCTION watch.run();
CREATE TRIGGER watch_lease AFTER INSERT OR UPDATE ON "order".argosy_leases FOR EACH ROW EXECUTE FUNCTION watch.lease();
CREATE TRIGGER watch_sent AFTER DELETE ON "order".argosy_outbox FOR EACH ROW EXECUTE FUNCTION watch.sent();
`

// watch has the database watch.
func (r *replicas) watch() {
	r.t.Helper()
	pgtest.Exec(r.t, r.store, watching)
}

// watched returns how much was written, how many runs were taken over while
// somebody held them, and what was written under an old epoch.
func (r *replicas) watched() (writes, stolen int64, old string) {
	r.t.Helper()
	pgtest.QueryRow(r.t, r.store, `SELECT w.last_value, CASE WHEN s.is_called THEN s.last_value ELSE 0 END,
		(SELECT coalesce(string_agg(at || ' ' || app || ': ' || what, E'\n' ORDER BY at), '') FROM watch.violations)
		FROM watch.writes w, watch.stolen s`, &writes, &stolen, &old)
	return writes, stolen, old
}

// rounds stops one replica past its leases and lets it go on, n times, while
// customers come to both. The other never stops, and who comes to a replica
// that sleeps waits.
func (r *replicas) rounds(n int) {
	r.t.Helper()
	stop := make(chan struct{})
	var shopping []*sync.WaitGroup
	for _, f := range r.each {
		shopping = append(shopping, r.load.shop(f, 3, stop))
	}
	for round := range n {
		pid := r.each[round%2].cmd.Process.Pid
		<-time.After(rand.N(100 * time.Millisecond)) // at any instant
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			r.t.Fatal(err)
		}
		<-time.After(replicaStop + rand.N(400*time.Millisecond))
		if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
			r.t.Fatal(err)
		}
		<-time.After(300 * time.Millisecond) // for it to do what it was about to
	}
	close(stop)
	for _, s := range shopping {
		s.Wait()
	}
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
