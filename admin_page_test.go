package argosy

import (
	"os"
	"strings"
	"testing"

	"github.com/argosy-go/argosy/fault"
)

func TestThePageOfTheAdminListenerNamesEveryRefusal(t *testing.T) {
	page, err := os.ReadFile("docs/reference/admin.md")
	if err != nil {
		t.Fatal(err)
	}
	for reason, status := range map[string]string{
		reasonToken: "401", reasonRemote: "403", reasonHost: "403", reasonForwarded: "403", reasonCrossSite: "403",
		reasonActor: "400", reasonIncomplete: "400", fault.ReasonTooLarge: "413", fault.ReasonMediaType: "415", "SERVICE_NOT_HERE": "404",
	} {
		if !strings.Contains(string(page), "| "+status+" | `"+reason+"` |") {
			t.Errorf("docs/reference/admin.md has no line of %s with %s", reason, status)
		}
	}
}
