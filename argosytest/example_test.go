package argosytest_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/argosy-go/argosy"
	"github.com/argosy-go/argosy/argosytest"
	"github.com/argosy-go/argosy/store"
)

// exampleT is what a test function gets from the testing package.
type exampleT struct{ testing.TB }

func (exampleT) Helper()                        {}
func (exampleT) Logf(string, ...any)            {}
func (exampleT) Errorf(format string, a ...any) { fmt.Printf(format+"\n", a...) }

// A service counts visitors. Wherever its process dies, a visitor who comes
// back under the same name is counted once.
func ExampleCrashEverywhere() {
	t := exampleT{}
	result := argosytest.CrashEverywhere(t, func(testing.TB) argosytest.Scenario {
		var db *store.DB
		counter := argosy.Service{Name: "counter", Setup: func(s *argosy.Setup) error {
			db = s.DB(soldTable)
			return nil
		}}
		return argosytest.Scenario{
			Config: argosytest.Config{Services: []argosy.Service{counter}},
			Work: func(ctx context.Context, _ *argosytest.Fleet) error {
				return db.Do(ctx, func(ctx context.Context, tx *store.Tx) error {
					_, err := tx.ExecContext(ctx, "INSERT INTO sold (id) VALUES ('Ada') ON CONFLICT DO NOTHING")
					return err
				})
			},
			Invariant: func(ctx context.Context, f *argosytest.Fleet) error {
				visitors, err := numbers(ctx, f, "counter", "SELECT id, 1 FROM sold")
				if err == nil && len(visitors) != 1 {
					err = fmt.Errorf("%d visitors", len(visitors))
				}
				return err
			},
		}
	})
	fmt.Println(result.Points >= 2, result.Reached == result.Points)
	// Output: true true
}
