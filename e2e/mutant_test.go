package e2e

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// mutantRounds bounds how often a mutant is killed before it counts as not missed.
const mutantRounds = 25

func TestAMechanismThatIsRemovedIsMissed(t *testing.T) {
	bin := build(t, "mutant")
	for _, mutant := range []string{"no-inbox", "sent-before-ack", "saga-after-commit", "reply-outside"} {
		t.Run(mutant, func(t *testing.T) {
			dir := t.TempDir()
			c := newCustomers(t, dir)
			env := "ARGOSY_MUTANT=" + mutant
			for round := range mutantRounds {
				// Even rounds only: bank and carrier live on, what differs is the mutant.
				crashOnce(t, c, start(t, bin, dir, env), 2*round%8)
				f := start(t, bin, dir, env)
				f.signIn("customer@shop.test")
				c.settle(f)
				code, r := audit(t, bin, dir, 3*time.Second)
				if code != 0 { // a shop that is only slow is not one that has missed something
					code, r = audit(t, bin, dir, 6*time.Second)
				}
				f.kill()
				if code != 0 {
					t.Logf("the audit exited %d after %d kills:\n%s", code, round+1, r)
					return
				}
			}
			t.Errorf("%d kills, and nobody missed the mechanism", mutantRounds)
		})
	}
	t.Run("nothing removed", func(t *testing.T) {
		dir := t.TempDir()
		c := newCustomers(t, dir)
		crashOnce(t, c, start(t, bin, dir), 0)
		f := start(t, bin, dir)
		f.signIn("customer@shop.test")
		c.settle(f)
		f.green(30 * time.Second)
	})
}

// What no kill of a process shows (another instance, the power) has a test
// beside its mechanism.
func TestAMechanismThatIsRemovedFailsItsOwnTest(t *testing.T) {
	for mutant, c := range map[string]struct{ in, test string }{
		"no-fence":          {"../saga", "TestAStaleInstanceWritesNothing"},
		"ack-before-commit": {"../event", "TestAStaleFetcherChangesNothing"},
		"no-fsync":          {"../store/sqlite", "TestTheWriterSyncs"},
	} {
		t.Run(mutant, func(t *testing.T) {
			run := func(mutant string) string {
				cmd := exec.Command("go", "test", "-count=1", "-tags", "mutant", "-run", "^"+c.test+"$", "-v", c.in)
				cmd.Env = append(os.Environ(), "ARGOSY_MUTANT="+mutant)
				out, _ := cmd.CombinedOutput() // what it says is looked at, not how it exits
				return string(out)
			}
			if out := run(""); !strings.Contains(out, "--- PASS: "+c.test) {
				t.Errorf("with nothing removed:\n%s", out)
			}
			if out := run(mutant); !strings.Contains(out, "--- FAIL: "+c.test) {
				t.Errorf("with %s:\n%s", mutant, out)
			}
		})
	}
}
