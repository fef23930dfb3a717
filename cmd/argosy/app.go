package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// app is what the commands work with. Settings and client are there once the
// command line has been read.
type app struct {
	in     io.Reader
	errs   io.Writer
	env    func(string) (string, bool)
	screen screen
	config config
	client *client
	places []place // of the fleet, once they have been asked for
}

func newApp(in io.Reader, out, errs io.Writer, env func(string) (string, bool)) *app {
	return &app{in: in, errs: errs, env: env, screen: newScreen(out, env)}
}

// connect reads the settings. Nothing is asked yet.
func (a *app) connect(cmd *cobra.Command) (err error) {
	if a.config, err = readConfig(cmd, a.env); err != nil {
		return err
	}
	a.client, err = newClient(a.config)
	if err == nil && a.client.token != "" {
		for _, at := range a.client.addresses {
			if at.Scheme == "http" && !local(at.Hostname()) {
				a.note("the token goes to %s in the clear: use https, or a tunnel", at.Host)
			}
		}
	}
	return err
}

// note tells the operator something beside the result.
func (a *app) note(format string, args ...any) {
	fmt.Fprintf(a.errs, "argosy: %s\n", escape(fmt.Sprintf(format, args...)))
}

// asJSON reports whether results are for programs.
func (a *app) asJSON() bool { return a.config.Output == "json" }

// show prints a result: v as JSON, or what table prints.
func (a *app) show(v any, table func() error) error {
	if a.asJSON() {
		return a.screen.json(v)
	}
	return table()
}

// fleet returns the services of the fleet that a command is about: the one
// that is named, or those that have what it asks for.
func (a *app) fleet(ctx context.Context, has func(serviceInfo) bool, what string) ([]place, error) {
	if a.places == nil {
		all, err := a.client.places(ctx, func(err error) { a.note("%s", message(err)) })
		if err != nil {
			return nil, err
		}
		a.places = all
	}
	var names []string
	var fit []place
	for _, p := range a.places {
		names = append(names, p.Name)
		if p.Name == a.config.Service {
			return []place{p}, nil
		}
		if has(p.serviceInfo) {
			fit = append(fit, p)
		}
	}
	switch {
	case a.config.Service != "":
		return nil, notFoundf("there is no service %q at %s; there are: %s%s", a.config.Service, a.config.Admin, strings.Join(names, ", "), meant(a.config.Service, names))
	case len(fit) == 0:
		return nil, notFoundf("no service at %s has %s; there are: %s", a.config.Admin, what, strings.Join(names, ", "))
	}
	return fit, nil
}

// confirm asks the operator before something that cannot be taken back. Where
// nobody can answer, --yes must have.
func (a *app) confirm(yes bool, question string, args ...any) error {
	if yes {
		return nil
	}
	f, ok := a.in.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return usagef("this needs a yes, and there is no terminal to ask on: say it by --yes, or look first with --dry-run")
	}
	fmt.Fprintf(a.errs, "%s [y/N] ", escape(fmt.Sprintf(question, args...)))
	line, err := bufio.NewReader(a.in).ReadString('\n')
	if err != nil && err != io.EOF {
		return fmt.Errorf("read the answer: %w", err)
	}
	switch strings.ToLower(strings.TrimSpace(line)) {
	case "y", "yes":
		return nil
	}
	return fmt.Errorf("nothing was changed: the answer was not yes")
}

// block prints the JSON of an event or a saga, indented under its name.
func (a *app) block(name string, content json.RawMessage) error {
	if len(content) == 0 {
		return nil
	}
	if _, err := fmt.Fprintf(a.screen.out, "\n%s\n", a.screen.styled(name+":", bold)); err != nil {
		return err
	}
	return a.screen.json(content)
}

// counted returns a number with its noun.
func counted(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
