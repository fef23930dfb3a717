package setting

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const hunter = "hunter2"

type secretive struct {
	Config string
	Token  string `secret:"true" default:"hunter2" usage:"what proves it"`
	PIN    int    `secret:"true" default:"1234" min:"1000" max:"9999"`
	Store  string `secret:"url" default:"sqlite:" usage:"where to keep it"`
	Only   string `secret:"env"`
	Plain  string
}

// write returns the path of a file with that text.
func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func parseSecrets(t *testing.T, args []string, env map[string]string) (secretive, *Set, error) {
	t.Helper()
	var c secretive
	s := NewSet("shop")
	if err := s.Add("", "SHOP", &c); err != nil {
		t.Fatal(err)
	}
	return c, s, s.Parse(args, func(k string) (string, bool) { v, ok := env[k]; return v, ok }, "config")
}

func TestASecretComesFromAFileOrTheEnvironment(t *testing.T) {
	one, two := write(t, "one\n"), write(t, "two\r\n")
	yaml := write(t, "token: three\n")
	yamlFile := write(t, "token-file: "+one+"\n")
	both := write(t, "token: three\ntoken-file: "+one+"\n")
	for name, c := range map[string]struct {
		args []string
		env  map[string]string
		want string // "" is an error
	}{
		"a file that a flag names":                  {[]string{"--token-file=" + one}, nil, "one"},
		"a file that a variable names":              {nil, map[string]string{"SHOP_TOKEN_FILE": two}, "two"},
		"a file that the file names":                {[]string{"--config=" + yamlFile}, nil, "one"},
		"a variable":                                {nil, map[string]string{"SHOP_TOKEN": "x"}, "x"},
		"the file":                                  {[]string{"--config=" + yaml}, nil, "three"},
		"the flag wins over the variable":           {[]string{"--token-file=" + one}, map[string]string{"SHOP_TOKEN": "x"}, "one"},
		"the variable wins over the file":           {[]string{"--config=" + yamlFile}, map[string]string{"SHOP_TOKEN": "x"}, "x"},
		"the variable's file wins over the file":    {[]string{"--config=" + yaml}, map[string]string{"SHOP_TOKEN_FILE": two}, "two"},
		"both in the environment":                   {nil, map[string]string{"SHOP_TOKEN": hunter, "SHOP_TOKEN_FILE": two}, ""},
		"both in the file":                          {[]string{"--config=" + both}, nil, ""},
		"an empty file":                             {[]string{"--token-file=" + write(t, "\n")}, nil, ""},
		"a file that is too large":                  {[]string{"--token-file=" + write(t, strings.Repeat("a", maxSecret+1))}, nil, ""},
		"no such file":                              {[]string{"--token-file=/nonexistent/x"}, nil, ""},
		"a flag":                                    {[]string{"--token=" + hunter}, nil, ""},
		"a flag, where there is only a variable":    {[]string{"--only=" + hunter}, nil, ""},
		"a file, where there is only a variable":    {[]string{"--only-file=" + one}, nil, ""},
		"a file, where the setting is not a secret": {[]string{"--plain-file=" + one}, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, _, err := parseSecrets(t, c.args, c.env)
			if c.want == "" && err == nil || c.want != "" && (err != nil || got.Token != c.want) {
				t.Errorf("got %q, %v; want %q", got.Token, err, c.want)
			}
			if err != nil && strings.Contains(err.Error(), hunter) {
				t.Errorf("the error shows it: %v", err)
			}
		})
	}
}

func TestAURLIsASecretIfItHasAPassword(t *testing.T) {
	file := write(t, "postgres://shop:hunter2@db/shop\n")
	for name, c := range map[string]struct {
		args []string
		env  map[string]string
		want string
	}{
		"a flag without one":      {[]string{"--store=postgres://shop@db/shop"}, nil, "postgres://shop@db/shop"},
		"a flag with one":         {[]string{"--store=postgres://shop:hunter2@db/shop"}, nil, ""},
		"in the query":            {[]string{"--store=postgres://db/shop?user=shop&password=hunter2"}, nil, ""},
		"another in the query":    {[]string{"--store=postgres://db/shop?sslpassword=hunter2"}, nil, ""},
		"a token of NATS":         {[]string{"--store=nats://hunter2@db"}, nil, ""},
		"one that cannot be read": {[]string{"--store=postgres://shop:hunter2%@db/shop"}, nil, ""},
		"in a variable":           {nil, map[string]string{"SHOP_STORE": "postgres://shop:hunter2@db/shop"}, "postgres://shop:hunter2@db/shop"},
		"in a file":               {[]string{"--store-file=" + file}, nil, "postgres://shop:hunter2@db/shop"},
	} {
		t.Run(name, func(t *testing.T) {
			got, _, err := parseSecrets(t, c.args, c.env)
			if c.want == "" && err == nil || c.want != "" && (err != nil || got.Store != c.want) {
				t.Errorf("got %q, %v; want %q", got.Store, err, c.want)
			}
			if err != nil && strings.Contains(err.Error(), hunter) {
				t.Errorf("the error shows it: %v", err)
			}
		})
	}
}

func TestASecretIsInNoErrorAndNoHelp(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		env  map[string]string
	}{
		"a number that is none":           {nil, map[string]string{"SHOP_PIN": hunter}},
		"a number that is out of range":   {nil, map[string]string{"SHOP_PIN": "77777"}},
		"a number in a file":              {[]string{"--pin-file=" + write(t, hunter)}, nil},
		"a space after the sign":          {[]string{"--token=", hunter}, nil},
		"a secret for the file":           {[]string{"--config=" + write(t, hunter)}, nil},
		"a secret as a flag, with a sign": {[]string{"--token", hunter, "--pin", "77777"}, nil},
	} {
		_, _, err := parseSecrets(t, c.args, c.env)
		if err == nil || strings.Contains(err.Error(), hunter) || strings.Contains(err.Error(), "77777") {
			t.Errorf("%s: got %v", name, err)
		}
	}
	_, s, err := parseSecrets(t, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := s.Help(&b); err != nil || strings.Contains(b.String(), hunter) || strings.Contains(b.String(), "1234") {
		t.Errorf("%v: the help shows it:\n%s", err, b.String())
	}
	for _, want := range []string{"(no flag)", "SHOP_TOKEN ", "--token-file", "SHOP_TOKEN_FILE", "(default sqlite:)", "--store-file"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the help does not show %q:\n%s", want, b.String())
		}
	}
}
