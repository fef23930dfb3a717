package main

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/argosy-go/argosy/service"
)

const page = "../../docs/reference/cli.md"

// help returns what a command prints for --help.
func help(t *testing.T, path string) string {
	t.Helper()
	var out, errs bytes.Buffer
	args := append(strings.Fields(path)[1:], "--help")
	none := func(string) (string, bool) { return "", false }
	if code := run(context.Background(), args, strings.NewReader(""), &out, &errs, none); code != 0 || errs.Len() > 0 {
		t.Fatalf("%s --help: exit code %d\n%s", path, code, errs.Bytes())
	}
	return out.String()
}

// commands returns the command and those below it, in the order of their help.
func commands(c *cobra.Command) []*cobra.Command {
	all := []*cobra.Command{c}
	for _, sub := range c.Commands() {
		all = append(all, commands(sub)...)
	}
	return all
}

func tree() []*cobra.Command {
	none := func(string) (string, bool) { return "", false }
	return commands(newRoot(newApp(strings.NewReader(""), &bytes.Buffer{}, &bytes.Buffer{}, none)))
}

// rest is what every command's help ends with; the page has it once.
const rest = "\n\nFlags of every command:"

func TestThePageIsTheHelp(t *testing.T) {
	before, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	const mark = "<!-- From here on a test keeps it: ARGOSY_UPDATE=1 go test ./cmd/argosy -->\n"
	intro, _, found := strings.Cut(string(before), mark)
	if !found {
		t.Fatalf("%s has no line %s", page, mark)
	}
	var b strings.Builder
	b.WriteString(intro + mark)
	for _, c := range tree() {
		text, _, _ := strings.Cut(help(t, c.CommandPath()), rest)
		b.WriteString("\n## " + c.CommandPath() + "\n\n```text\n" + strings.TrimRight(text, "\n") + "\n```\n")
	}
	if os.Getenv("ARGOSY_UPDATE") != "" {
		if err := os.WriteFile(page, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if b.String() != string(before) {
		t.Errorf("%s is not what argosy --help prints: ARGOSY_UPDATE=1 go test -run TestThePageIsTheHelp ./cmd/argosy writes it", page)
	}
}

func TestEveryCommandHasExamplesOfItself(t *testing.T) {
	for _, c := range tree() {
		text := help(t, c.CommandPath())
		if c.Example == "" || c.Short == "" || c.Long == "" {
			t.Errorf("%s has no example, or says nothing about itself", c.CommandPath())
		}
		for line := range strings.Lines(c.Example) {
			if !strings.HasPrefix(line, "  "+c.CommandPath()) {
				t.Errorf("%s: example %q is of another command", c.CommandPath(), line)
			}
			if _, _, err := c.Root().Find(strings.Fields(line)[1:]); err != nil {
				t.Errorf("%s: example %q: %v", c.CommandPath(), line, err)
			}
		}
		for line := range strings.Lines(text) {
			if len(line) > 101 && !strings.HasPrefix(line, "  argosy ") {
				t.Errorf("%s: a line of its help is %d long: %s", c.CommandPath(), len(line), line)
			}
		}
	}
}

func TestTheExitCodesOfTheHelpAreThose(t *testing.T) {
	text := help(t, "argosy")
	for _, want := range []string{"0  done", "1  failed", "2  usage", "3  not found", "4  refused", "5  unreachable"} {
		if !strings.Contains(text, "\n  "+want) {
			t.Errorf("the help does not say %q", want)
		}
	}
	if got := [...]int{exitOK, exitFailed, exitUsage, exitNotFound, exitRefused, exitUnreachable}; got != [...]int{0, 1, 2, 3, 4, 5} {
		t.Errorf("they changed: %v", got)
	}
}

func TestThePageOfTheAdminListenerNamesEveryPathOfTheMechanisms(t *testing.T) {
	b, err := os.ReadFile("../../docs/reference/admin.md")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, svc := range (&sales{}).services() {
		s := service.New(svc.Name, service.Options{})
		if err := svc.Setup(s); err != nil {
			t.Fatal(err)
		}
		for _, h := range s.AdminHandlers() {
			method, path, _ := strings.Cut(h.Pattern, " ")
			line := "| `" + method + " /services/{service}" + path + "` |"
			known[line] = true
			if !strings.Contains(string(b), line) {
				t.Errorf("docs/reference/admin.md has no line %s", line)
			}
		}
	}
	for line := range strings.Lines(string(b)) {
		if first, _, _ := strings.Cut(strings.TrimPrefix(line, "| "), " |"); strings.Contains(first, "/services/{service}/") && strings.Contains(first, " /") && !known["| "+first+" |"] {
			t.Errorf("docs/reference/admin.md names %s, which nothing mounts", first)
		}
	}
}
