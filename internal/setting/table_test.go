package setting

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

type ruleRow struct {
	Deadline *time.Duration `min:"1ms" max:"1h" usage:"how long"`
	Attempts *int           `min:"1" max:"10"`
	Share    *float64       `min:"0" max:"1"`
	Breaker  struct {
		MinCalls *int `min:"1"`
	}
}

type ruleSettings struct {
	Config string
	Rules  map[string]ruleRow `usage:"rules"`
	Ratio  float64            `default:"1" min:"0" max:"1"`
}

func parsedRules(t *testing.T, args []string, env map[string]string, file string) (ruleSettings, *Set, error) {
	t.Helper()
	var c ruleSettings
	s := NewSet("shop")
	if err := s.Add("", "ARGOSY", &c); err != nil {
		t.Fatal(err)
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

func TestEachKeyOfATableIsASettingOfItsOwn(t *testing.T) {
	file := `
rules:
  inventory: {deadline: 3s, attempts: 3, breaker: {min-calls: 30}}
  argosy.shop.v1.Inventory/Reserve: {deadline: 4s}
`
	c, _, err := parsedRules(t,
		[]string{"--rules=inventory.deadline=1s", "--rules", "inventory/Reserve.attempts=1"},
		map[string]string{"ARGOSY_RULES": "inventory.deadline=2s, inventory.attempts=2"}, file)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Rules) != 3 {
		t.Fatalf("the rows are %v", c.Rules)
	}
	all := c.Rules["inventory"]
	if *all.Deadline != time.Second || *all.Attempts != 2 || *all.Breaker.MinCalls != 30 || all.Share != nil {
		t.Errorf("inventory is %v, %v, %v, %v: the flag wins over the variable, and that over the file", *all.Deadline, *all.Attempts, *all.Breaker.MinCalls, all.Share)
	}
	if d := c.Rules["argosy.shop.v1.Inventory/Reserve"].Deadline; d == nil || *d != 4*time.Second {
		t.Errorf("a row with dots in its name has the deadline %v", d)
	}
	if a := c.Rules["inventory/Reserve"].Attempts; a == nil || *a != 1 {
		t.Errorf("a row of a second flag has %v", a)
	}
}

func TestATableThatIsNotSetIsNil(t *testing.T) {
	for name, file := range map[string]string{"no file": "", "its name alone": "rules:\n", "an empty row": "rules: {}\n"} {
		t.Run(name, func(t *testing.T) {
			if c, _, err := parsedRules(t, nil, nil, file); err != nil || c.Rules != nil {
				t.Errorf("got %v, %v", c.Rules, err)
			}
		})
	}
}

func TestErrorsOfATableNameKeyValueRangeAndPlace(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		env  map[string]string
		file string
		want []string
	}{
		"a value out of range in a flag":     {args: []string{"--rules=a.attempts=0"}, want: []string{`flag --rules, key a.attempts: "0" is out of range: it must be 1 to 10`}},
		"a value out of range in a variable": {env: map[string]string{"ARGOSY_RULES": "a.deadline=2h"}, want: []string{`variable ARGOSY_RULES, key a.deadline: "2h" is out of range: it must be 1ms to 1h`}},
		"a value out of range in the file":   {file: "rules: {a/B: {attempts: 11}}", want: []string{"c.yaml, key rules.a/B.attempts", `"11" is out of range: it must be 1 to 10`}},
		"no upper bound":                     {args: []string{"--rules=a.breaker.min-calls=0"}, want: []string{"it must be 1 or more"}},
		"a number that is none":              {args: []string{"--rules=a.share=NaN"}, want: []string{"it must be 0 to 1"}},
		"a value of another kind":            {args: []string{"--rules=a.deadline=soon"}, want: []string{`key a.deadline: "soon" is not a duration such as "1m30s"`}},
		"a value that is empty":              {args: []string{"--rules=a.deadline="}, want: []string{`key a.deadline: "" is not a duration`, "it is empty"}},
		"an unknown key in the file":         {file: "rules: {a: {deadlin: 1s}}", want: []string{"key rules.a.deadlin: unknown key (did you mean a.deadline?)"}},
		"an unknown key far from all":        {args: []string{"--rules=a.xyzzy=1"}, want: []string{"a row has the keys deadline, attempts, share, breaker.min-calls"}},
		"a row that is a value":              {file: "rules: {a: 3}", want: []string{"key rules.a: unknown key"}},
		"a table that is a list":             {file: "rules: [a]", want: []string{"unknown key rules"}},
		"a part without a value":             {args: []string{"--rules=a.deadline"}, want: []string{`"a.deadline" is not name.deadline=value`}},
		"a key without a row":                {args: []string{"--rules=.deadline=1s"}, want: []string{"unknown key"}},
		"a single value out of range":        {args: []string{"--ratio=1.5"}, want: []string{`flag --ratio: "1.5" is out of range: it must be 0 to 1`}},
		"two mistakes":                       {args: []string{"--rules=a.deadline=soon,b.attempts=0"}, want: []string{"a.deadline", "b.attempts"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := parsedRules(t, c.args, c.env, c.file)
			for _, want := range c.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, want it to say %q", err, want)
				}
			}
		})
	}
}

func TestHelpListsTheKeysOfATable(t *testing.T) {
	_, s, err := parsedRules(t, nil, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := s.Help(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"--rules", "Keys of --rules:\n  deadline           1ms to 1h  how long", "breaker.min-calls  1 or more"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("help does not show %q:\n%s", want, b.String())
		}
	}
}

func TestATableOfAnotherFormIsRefused(t *testing.T) {
	for name, c := range map[string]any{
		"values that are no structs": &struct{ T map[string]int }{},
		"keys that are no pointers":  &struct{ T map[string]struct{ A int } }{},
		"keys of another kind": &struct {
			T map[string]struct{ A *[]string }
		}{},
		"a bound that is not one": &struct {
			T map[string]struct {
				A *int `min:"x"`
			}
		}{},
		"rows that are named by numbers": &struct{ T map[int]struct{ A *int } }{},
	} {
		t.Run(name, func(t *testing.T) {
			if err := NewSet("x").Add("", "X", c); err == nil {
				t.Error("it was accepted")
			}
		})
	}
}

func FuzzTable(f *testing.F) {
	for _, seed := range []string{"a.deadline=1s", "a/B.attempts=2, *.share=0.5", "x.y.Z.breaker.min-calls=1", ".deadline=1s", "a.deadline", "a=", "=,=", "a.share=NaN"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var c ruleSettings
		s := NewSet("x")
		if err := s.Add("", "X", &c); err != nil {
			t.Fatal(err)
		}
		if s.Parse([]string{"--rules=" + text}, func(string) (string, bool) { return "", false }, "") != nil {
			return
		}
		for name, r := range c.Rules {
			if name == "" {
				t.Error("a row has no name")
			}
			if r.Attempts != nil && (*r.Attempts < 1 || *r.Attempts > 10) || r.Share != nil && !(*r.Share >= 0 && *r.Share <= 1) {
				t.Errorf("%q is out of range and was taken", text)
			}
		}
	})
}
