package setting

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

type orderSettings struct {
	MaxLines int           `default:"50" usage:"most lines"`
	BankURL  string        `usage:"where the bank is"`
	Patience time.Duration `default:"2s"`
	Token    string        `secret:"true"`
	Fast     bool
}

func parsed(t *testing.T, args []string, env map[string]string, file string) (orderSettings, *Set, error) {
	t.Helper()
	var fleet struct{ Config string }
	var c orderSettings
	s := NewSet("shop")
	for _, err := range []error{s.Add("", "ARGOSY", &fleet), s.Add("order", "ORDER", &c)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if file != "" {
		path := filepath.Join(t.TempDir(), "c.yaml")
		if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--config", path)
	}
	err := s.Parse(args, func(k string) (string, bool) { v, ok := env[k]; return v, ok }, "config")
	return c, s, err
}

func TestFlagWinsOverEnvironmentWinsOverFileWinsOverDefault(t *testing.T) {
	file := "order:\n  max-lines: 3\n  patience: 7s\n  bank-url: http://file\n"
	c, _, err := parsed(t, []string{"--order.max-lines=1"}, map[string]string{"ORDER_MAX_LINES": "2", "ORDER_BANK_URL": "http://env"}, file)
	if err != nil {
		t.Fatal(err)
	}
	if c.MaxLines != 1 || c.BankURL != "http://env" || c.Patience != 7*time.Second || c.Fast {
		t.Errorf("got %+v", c)
	}
}

func TestErrorsSayWhatWhereAndWhatToDo(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		env  map[string]string
		file string
		want string
	}{
		"a flag that is no number":          {args: []string{"--order.max-lines=many"}, want: `flag --order.max-lines: "many" is not a whole number`},
		"a variable that is no duration":    {env: map[string]string{"ORDER_PATIENCE": "soon"}, want: `variable ORDER_PATIENCE: "soon" is not a duration such as "1m30s"`},
		"a flag that does not exist":        {args: []string{"--order.max-line=1"}, want: "unknown flag --order.max-line (did you mean order.max-lines?)"},
		"a key that does not exist":         {file: "order:\n  maxlines: 3\n", want: "unknown key order.maxlines (did you mean order.max-lines?)"},
		"a file that is not YAML":           {file: "order: [", want: "configuration file"},
		"an argument that is not a flag":    {args: []string{"now"}, want: `unexpected argument "now"`},
		"a file that does not exist":        {args: []string{"--config=/nonexistent/x.yaml"}, want: "no such file"},
		"a number that is too large for it": {args: []string{"--order.max-lines=99999999999999999999"}, want: "value out of range"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := parsed(t, c.args, c.env, c.file)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want it to say %q", err, c.want)
			}
		})
	}
}

func TestHelpListsEverySettingWithVariableAndDefault(t *testing.T) {
	_, s, err := parsed(t, nil, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := s.Help(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Service order:", "--order.max-lines", "ORDER_MAX_LINES", "(default 50)", "--config", "ARGOSY_CONFIG"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("help does not show %q:\n%s", want, b.String())
		}
	}
}

func TestAFieldOfAnotherKindIsRefused(t *testing.T) {
	var c struct{ Tags []string }
	if err := NewSet("x").Add("order", "ORDER", &c); err == nil {
		t.Error("a []string setting was accepted")
	}
}
