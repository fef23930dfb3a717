package setting

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// Help prints every setting, by section, with its variable and default.
func (s *Set) Help(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	section := "\x00"
	for _, st := range s.settings {
		if st.Section != section {
			section = st.Section
			title := "Fleet"
			if section != "" {
				title = "Service " + section
			}
			fmt.Fprintf(t, "\n%s:\t\t\n", title)
		}
		usage := st.Usage
		if st.Default != "" && st.Default != "false" && !st.Secret {
			usage += fmt.Sprintf(" (default %s)", st.Default)
		}
		fmt.Fprintf(t, "  --%s\t%s\t%s\n", st.Name, st.Env, usage)
	}
	return t.Flush()
}
