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
		name := "--" + st.Name
		if st.secrecy == secret || st.secrecy == onlyIn {
			name = "(no flag)"
		} else if st.Default != "" && st.Default != "false" {
			usage += fmt.Sprintf(" (default %s)", st.Default)
		}
		fmt.Fprintf(t, "  %s\t%s\t%s\n", name, st.Env, usage)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, st := range s.settings {
		if st.table == nil {
			continue
		}
		fmt.Fprintf(w, "\nKeys of --%s:\n", st.Name)
		for _, k := range st.table.keys {
			fmt.Fprintf(t, "  %s\t%s\t%s\n", k.name, k.limits, k.usage)
		}
		if err := t.Flush(); err != nil {
			return err
		}
	}
	return nil
}

func (s *Setting) title() string {
	if s.Section == "" {
		return "Fleet"
	}
	return "Service " + s.Section
}
