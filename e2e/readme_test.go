package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// block returns the first fenced block of the README in a language.
func block(t *testing.T, language string) string {
	t.Helper()
	b, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile("(?s)```" + language + "\n(.*?)```").FindSubmatch(b)
	if found == nil {
		t.Fatalf("the README has no block in %s", language)
	}
	return string(found[1])
}

func TestTheLinesOfTheReadmePlaceAnOrderThatIsConfirmed(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		if strings.Contains(os.Getenv("ARGOSY_TEST_REQUIRE"), "curl") {
			t.Fatal(err)
		}
		t.Log("LEFT OUT: there is no curl; test.sh says so too")
		return
	}
	home := t.TempDir()
	data := filepath.Join(home, ".local", "state", "argosy", "shop")
	f := start(t, build(t, ""), data)
	if err := os.WriteFile(filepath.Join(data, "dev-password"), []byte(password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	lines := strings.ReplaceAll(block(t, "sh"), "localhost:8080", f.addrs.HTTP)
	cmd := exec.Command("sh", "-eu", "-c", lines)
	cmd.Env = append(os.Environ(), "HOME="+home)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !strings.Contains(string(out), "CONFIRMED") {
		t.Errorf("the order was not confirmed:\n%s", out)
	}
}

func TestTheProgramOfTheReadmeIsTheOneThatRuns(t *testing.T) {
	b, err := os.ReadFile("../docs/guide/greeter/main.go")
	if err != nil {
		t.Fatal(err)
	}
	_, program, _ := strings.Cut(string(b), "\npackage main\n") // after its doc comment
	if want := block(t, "go"); want != "package main\n"+program {
		t.Error("the README's program differs from docs/guide/greeter/main.go")
	}
}

func TestThePageOfSettingsIsTheHelp(t *testing.T) {
	page, err := os.ReadFile("../docs/reference/settings.md")
	if err != nil {
		t.Fatal(err)
	}
	help, err := exec.Command(build(t, ""), "--help").Output()
	if err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(string(help), "shop-", "shop") // the name that the test gives the program
	if !strings.Contains(string(page), "```text\n"+text+"```") {
		t.Errorf("docs/reference/settings.md is not what shop --help prints: put this between its fences\n%s", text)
	}
}
