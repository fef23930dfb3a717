// Package torture does to real processes what a bad night does to them, and
// then asks whether what they promised still holds.
//
//	func TestABadNight(t *testing.T) {
//		disk := torture.NewDisk(t, 256<<20)
//		shop := &torture.Process{Name: "shop", Command: func() *exec.Cmd {
//			return exec.Command("./shop", "--data", disk.Dir)
//		}, Ready: healthy}
//		torture.Run(t, torture.Plan{
//			Length:    10 * time.Minute,
//			Processes: []*torture.Process{shop},
//			Faults: []torture.Fault{
//				torture.Kill(shop),
//				torture.Pause(shop, 16*time.Second, 20*time.Second), // past a lease
//				torture.Restart(shop),
//				torture.DiskFull(disk),
//			},
//			Load:      customers, // journals what was acknowledged
//			Quiet:     allWorkHasEnded,
//			Invariant: nothingLostNothingDoubled,
//			Report:    "report.md",
//		})
//	}
//
// A run goes like this:
//
//	start the processes ─ load ────────────────────────────┐
//	                        └ every 2 s a fault: inject, last, heal, recover
//	heal everything ─ wait for the load ─ Quiet ─ Invariant ─ stop ─ report
//
// The schedule, which fault strikes when and for how long, and every choice
// within a fault come from the seed, which is printed: the same plan with the
// same seed is struck in the same way. What the processes do meanwhile is
// theirs; a seed makes a failure likely again, not certain.
//
// Faults that strike different targets overlap, as they do at night. A target
// suffers one fault at a time.
//
// [Network] gives each process a machine of its own: a network namespace that
// goes when the test does, however the test ends. It needs root, iproute2 and
// iptables; [NewNetwork] says what is missing, and [NewLoopback] is what there
// is without. [Proxy] delays, throttles, silences and cuts TCP connections,
// and needs nothing. [Disk] is a small tmpfs that can be filled; it needs root.
//
// The package works on Linux. It is for tests: it reads no environment,
// installs nothing, and touches no network but those that it makes.
package torture
