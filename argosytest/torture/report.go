//go:build linux

package torture

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"
)

// Report is what came of a run.
type Report struct {
	Seed          uint64
	Length, Every time.Duration
	Begun         time.Time
	Took          time.Duration
	// Problems are why the run failed; none: it did not.
	Problems []string
	// Events are the strikes in the order in which they were over.
	Events []Event
	// Load are the figures of the load.
	Load []Figure
	// Starts is how often each process was started.
	Starts []Figure
	// QuietAfter is how long work took to end once all was healed.
	QuietAfter time.Duration
	// Found is what the invariant had to say.
	Found string
	// Said are the last lines of the processes.
	Said []Said
}

// Event is a strike as it happened; times count from the first strike's clock,
// as [Strike.At] does.
type Event struct {
	Strike
	Injected, Healed, Recovered time.Duration
	// Alone is true when no other fault struck from the injection to the
	// recovery, which is this fault's own then.
	Alone bool
	// Notes is what the fault observed.
	Notes string
}

// Said is what a process printed last.
type Said struct {
	Who   string
	Lines []string
}

// Markdown returns the report for people.
func (r Report) Markdown() string {
	var b strings.Builder
	verdict := "GREEN: everything holds"
	if len(r.Problems) > 0 {
		verdict = fmt.Sprintf("RED: %d problems", len(r.Problems))
	}
	fmt.Fprintf(&b, "# Torture: %s\n\n", verdict)
	for _, p := range r.Problems {
		fmt.Fprintf(&b, "- **%s**\n", p)
	}
	fmt.Fprintf(&b, "\nSeed %d, %s with a fault every %s, begun %s, took %s. The same plan with this seed is struck in the same way.\n",
		r.Seed, r.Length, r.Every, r.Begun.Format(time.RFC3339), r.Took.Round(time.Second))
	r.figures(&b)
	if r.Found != "" {
		fmt.Fprintf(&b, "\n## What must hold\n\n%s\n", strings.TrimSpace(r.Found))
	}
	r.summary(&b)
	r.timeline(&b)
	if len(r.Problems) > 0 {
		for _, s := range r.Said {
			fmt.Fprintf(&b, "\n## Last words: %s\n\n```\n%s\n```\n", s.Who, strings.Join(s.Lines, "\n"))
		}
	}
	return b.String()
}

func (r Report) figures(b *strings.Builder) {
	b.WriteString("\n## Figures\n\n| | |\n|---|---|\n")
	for _, f := range r.Load {
		fmt.Fprintf(b, "| %s | %s |\n", f.Name, f.Value)
	}
	for _, f := range r.Starts {
		fmt.Fprintf(b, "| starts of %s | %s |\n", f.Name, f.Value)
	}
	fmt.Fprintf(b, "| quiet after the last heal | %s |\n", r.QuietAfter.Round(time.Millisecond))
}

// summary has one line a fault.
func (r Report) summary(b *strings.Builder) {
	all, alone := map[string][]time.Duration{}, map[string][]time.Duration{}
	for _, e := range r.Events {
		if e.Injected == 0 {
			continue // left out
		}
		took := e.Recovered - e.Healed
		all[e.Fault] = append(all[e.Fault], took)
		if e.Alone {
			alone[e.Fault] = append(alone[e.Fault], took)
		}
	}
	b.WriteString("\n## Recovery after the heal, by fault\n\nAlone: no other fault struck meanwhile.\n\n" +
		"| fault | times | median | longest | alone | median | longest |\n|---|---:|---:|---:|---:|---:|---:|\n")
	for _, name := range slices.Sorted(maps.Keys(all)) {
		fmt.Fprintf(b, "| %s | %s | %s |\n", name, spread(all[name]), spread(alone[name]))
	}
}

// spread is three columns: how many, their median, and the longest.
func spread(d []time.Duration) string {
	if len(d) == 0 {
		return "0 | | "
	}
	slices.Sort(d)
	return fmt.Sprintf("%d | %s | %s", len(d), short(d[len(d)/2]), short(d[len(d)-1]))
}

func (r Report) timeline(b *strings.Builder) {
	b.WriteString("\n## Timeline\n\n| at | fault | lasted | recovered after | observed |\n|---:|---|---:|---:|---|\n")
	events := slices.Clone(r.Events)
	slices.SortStableFunc(events, func(x, y Event) int { return cmp.Compare(x.At, y.At) })
	for _, e := range events {
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s |\n", short(max(e.At, e.Injected)), e.Fault,
			short(e.Healed-e.Injected), short(e.Recovered-e.Healed), strings.ReplaceAll(e.Notes, "\n", " "))
	}
}

func short(d time.Duration) string { return d.Round(10 * time.Millisecond).String() }

func (r Report) write(path string) error {
	if err := os.WriteFile(path, []byte(r.Markdown()), 0o600); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}
