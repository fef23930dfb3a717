package main

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

// TestThePageOfTheCommandsIsTheirHelp holds docs/reference/shop.md to what the
// commands print.
func TestThePageOfTheCommandsIsTheirHelp(t *testing.T) {
	page, err := os.ReadFile("../docs/reference/shop.md")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]*command{"audit": newAudit().command, "load": newLoad().command} {
		var help bytes.Buffer
		if err := c.help(&help); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(page), "```text\n"+help.String()+"```") {
			t.Errorf("docs/reference/shop.md does not have what shop %s --help prints: put this between its fences\n%s", name, help.String())
		}
	}
}

func TestACommandExitsAsItsHelpSays(t *testing.T) {
	t.Setenv("ARGOSY_STORE", "")
	t.Setenv("ARGOSY_SHOP_DEV_PASSWORD", "")
	for name, run := range map[string]func([]string) int{"audit": auditCommand, "load": loadCommand} {
		for args, want := range map[string]int{
			"--help": 0, "-h": 0, "--none": 2, "more": 2, "--output xml": 2,
			"--data " + t.TempDir() + "/none": 3,
		} {
			if code := run(strings.Fields(args)); code != want {
				t.Errorf("shop %s %s exited %d, want %d", name, args, code, want)
			}
		}
	}
	if code := auditCommand([]string{"--data", t.TempDir(), "--store", "mysql://db/shop"}); code != 3 {
		t.Errorf("shop audit of a store that it cannot read exited %d", code)
	}
}
