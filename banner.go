package argosy

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/argosy-go/argosy/internal/version"
)

// banner prints where to look and what to type.
func (f *Fleet) banner(took time.Duration) {
	w := f.program.stdout()
	if !f.set.Banner {
		f.printHints(w)
		return
	}
	at := f.Addrs()
	var names []string
	for _, s := range f.services {
		names = append(names, s.Name())
	}
	fmt.Fprintf(w, "\n%s %s is ready after %s: %s\n\n", f.program.Name, version.String(), took.Round(time.Millisecond), strings.Join(names, ", "))
	fmt.Fprintf(w, "  page     %s\n", f.origin())
	for _, s := range f.services {
		if len(s.Documents()) > 0 {
			fmt.Fprintf(w, "  docs     %s/docs\n", f.origin())
			break
		}
	}
	fmt.Fprintf(w, "  grpc     %s   (reflection is on: grpcurl -plaintext %s list)\n", at.GRPC, at.GRPC)
	fmt.Fprintf(w, "  admin    http://%s/readyz, /livez, /metrics\n", at.Admin)
	fmt.Fprintf(w, "  data     %s\n", f.set.Data)
	f.printHints(w)
	fmt.Fprintf(w, "\nCtrl-C drains and stops.\n\n")
}

// say prints what happens to the fleet, unless somebody else does.
func (f *Fleet) say(format string, args ...any) {
	if f.set.Banner {
		fmt.Fprintf(f.program.stdout(), format, args...)
	}
}

// printHints prints what the services have to say about themselves.
func (f *Fleet) printHints(w io.Writer) {
	for _, s := range f.services {
		for _, hint := range s.Hints() {
			fmt.Fprintf(w, "  %s\n", hint)
		}
	}
}

// origin returns the URL of the HTTP edge.
func (f *Fleet) origin() string {
	if f.set.Origin != "" {
		return strings.TrimSuffix(f.set.Origin, "/")
	}
	return "http://" + f.Addrs().HTTP
}
