package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/argosy-go/argosy/internal/setting"
)

// config is what is set by flag, variable or file, the first of the three.
type config struct {
	Admin      string        `env:"ARGOSY_ADMIN_URL" default:"http://127.0.0.1:9091"`
	TokenFile  string        `env:"ARGOSY_ADMIN_TOKEN_FILE"`
	AdminToken string        `env:"ARGOSY_ADMIN_TOKEN" secret:"env"`
	Service    string        `env:"ARGOSY_SERVICE"`
	Output     string        `env:"ARGOSY_OUTPUT" default:"table"`
	Actor      string        `env:"ARGOSY_ACTOR"`
	Timeout    time.Duration `env:"ARGOSY_TIMEOUT" default:"30s"`
	Config     string        `env:"ARGOSY_CLI_CONFIG"`
}

const tokenVariable = "ARGOSY_ADMIN_TOKEN"

// flagged are the settings that have a flag, and its help: pflag shows the
// quoted word as the kind of value. The token has no flag, since every user of
// a machine sees the command lines of all others.
func flagged() [][2]string {
	return [][2]string{
		{"admin", "`URL` of the admin listener (default http://127.0.0.1:9091);\nseveral, with commas, where a fleet is several programs"},
		{"token-file", "`FILE` with the admin token; or ARGOSY_ADMIN_TOKEN holds\nthe token itself"},
		{"service", "`NAME` of the service, where several have such a thing"},
		{"output", "`FORMAT`: table or json (default table)"},
		{"actor", "`NAME` that the records keep of you (default user@host)"},
		{"timeout", "`DURATION` that one request may take (default 30s)"},
		{"config", "`FILE` of settings (default ~/.config/argosy/cli.yaml,\nif there is one)"},
	}
}

// addSettings adds the flags of the settings.
func addSettings(flags *pflag.FlagSet) {
	flags.SortFlags = false
	for _, f := range flagged() {
		flags.String(f[0], "", f[1])
	}
}

// readConfig returns the settings of a command.
func readConfig(cmd *cobra.Command, env func(string) (string, bool)) (config, error) {
	var c config
	set := setting.NewSet("argosy")
	if err := set.Add("", "ARGOSY", &c); err != nil {
		return c, err
	}
	var args []string
	for _, known := range flagged() {
		if f := cmd.Flags().Lookup(known[0]); f.Changed {
			args = append(args, "--"+f.Name+"="+f.Value.String())
		}
	}
	if file, err := defaultFile(cmd, env); err != nil {
		return c, err
	} else if file != "" {
		args = append(args, "--config="+file)
	}
	if err := set.Parse(args, env, "config"); err != nil {
		return c, &usageError{err.Error()}
	}
	if c.Output != "table" && c.Output != "json" {
		return c, usagef("the output is %q, and can be table or json", c.Output)
	}
	if c.Timeout <= 0 {
		return c, usagef("the timeout is %s, and must be more than nothing", c.Timeout)
	}
	if err := c.readToken(cmd, env); err != nil {
		return c, err
	}
	return c, c.setActor(env)
}

// defaultFile returns the configuration file of the user, if there is one and
// no other is named.
func defaultFile(cmd *cobra.Command, env func(string) (string, bool)) (string, error) {
	if f := cmd.Flags().Lookup("config"); f.Changed {
		return "", nil
	}
	if named, _ := env("ARGOSY_CLI_CONFIG"); named != "" {
		return "", nil
	}
	base, _ := env("XDG_CONFIG_HOME")
	if !filepath.IsAbs(base) {
		home, _ := env("HOME")
		if home == "" {
			return "", nil
		}
		base = filepath.Join(home, ".config")
	}
	path := filepath.Join(base, "argosy", "cli.yaml")
	_, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("configuration file: %w", err)
	}
	return path, nil
}

// readToken finds the token in the order of all settings: the file that the
// flag names, the variables, the configuration file.
func (c *config) readToken(cmd *cobra.Command, env func(string) (string, bool)) error {
	inEnv, _ := env(tokenVariable)
	if c.TokenFile == "" || inEnv != "" && !cmd.Flags().Lookup("token-file").Changed {
		return nil
	}
	b, err := os.ReadFile(c.TokenFile)
	if err != nil {
		return usagef("token file: %v", err)
	}
	c.AdminToken = strings.TrimSpace(string(b))
	if c.AdminToken == "" {
		return usagef("token file %s: it is empty", c.TokenFile)
	}
	return nil
}

// actorLength is how many bytes of an actor the admin listener takes.
const actorLength = 200

// setActor finds out who the operator is, if nobody said so.
func (c *config) setActor(env func(string) (string, bool)) error {
	if c.Actor == "" {
		name, _ := env("USER")
		if u, err := user.Current(); err == nil { // without one the variable must do
			name = u.Username
		}
		host, err := os.Hostname()
		if err != nil {
			host = "unknown"
		}
		c.Actor = name + "@" + host
	}
	if len(c.Actor) > actorLength || !utf8.ValidString(c.Actor) || strings.ContainsFunc(c.Actor, unicode.IsControl) {
		return usagef("the actor %q must be text of at most %d bytes on one line", c.Actor, actorLength)
	}
	return nil
}

// addresses returns the URLs of the admin listeners.
func (c *config) addresses() ([]*url.URL, error) {
	var all []*url.URL
	for text := range strings.SplitSeq(c.Admin, ",") {
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		full := text
		if !strings.Contains(text, "://") {
			full = "http://" + text
		}
		u, err := url.Parse(full)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			return nil, usagef("the admin address %q is no URL as in http://127.0.0.1:9091", text)
		}
		all = append(all, u)
	}
	if len(all) == 0 {
		return nil, usagef("no admin address is given: give one by --admin")
	}
	return all, nil
}
