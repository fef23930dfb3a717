package setting

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// Help prints every setting, by section, with its variable and default.
func (s *Set) Help(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for i, st := range s.settings {
		if i == 0 || st.Section != s.settings[i-1].Section {
			if err := t.Flush(); err != nil { // the columns are a section's own
				return err
			}
			fmt.Fprintf(w, "\n%s:\n", st.title())
		}
		usage := st.Usage
		if st.Default != "" && st.Default != "false" && !st.Secret {
			usage += fmt.Sprintf(" (default %s)", st.Default)
		}
		fmt.Fprintf(t, "  --%s\t%s\t%s\n", st.Name, st.Env, usage)
	}
	return t.Flush()
}

func (s *Setting) title() string {
	if s.Section == "" {
		return "Fleet"
	}
	return "Service " + s.Section
}
