package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/argosy-go/argosy/internal/breaking"
)

// errBreaking is what a check ends with that has found something.
var errBreaking = errors.New("the contracts break who relies on them; what is meant to go is announced first, by (argosy.v1.deprecation)")

// newCheck returns argosy check.
func newCheck(a *app) *cobra.Command {
	var against string
	var protoPath []string
	c := &cobra.Command{
		Use: "check --against REF [DIRECTORY]", Short: "Find what a change of contracts breaks, and whom",
		Long: `argosy check compares the contracts (*.proto) below a directory with those that
git has at another commit, and fails when a change breaks somebody: callers over
gRPC or REST, or consumers of events. It says who that is, and what to do
instead. A method whose sunset has passed may go.

It needs git, and nothing else: neither protoc nor a running program.

Exit codes: 0 nothing breaks, 1 something does, 2 usage or contracts that do
not compile.`,
		Example: `  argosy check --against main
  argosy check --against v1.4.0 ./shop/proto --output json
  argosy check --against origin/main --proto-path ../third-party/proto`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.connect(cmd); err != nil {
				return err
			}
			if against == "" {
				return usagef("say what to compare with: --against main")
			}
			dir := "."
			if len(args) > 0 {
				dir = args[0]
			}
			found, err := compare(cmd.Context(), dir, against, protoPath)
			if err != nil {
				return usagef("%v", err)
			}
			if err := a.show(map[string]any{"breaking": found}, func() error { return a.breakingList(found, against) }); err != nil {
				return err
			}
			if len(found) > 0 {
				return errBreaking
			}
			return nil
		},
	}
	c.Flags().StringVar(&against, "against", "", "the branch, tag or commit `REF` to compare with")
	c.Flags().StringArrayVar(&protoPath, "proto-path", nil, "`DIRECTORY` with contracts that others import and that are not in the\nrepository; may be repeated")
	return c
}

// compare returns what the contracts below dir break of those at ref.
func compare(ctx context.Context, dir, ref string, protoPath []string) ([]breaking.Change, error) {
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return nil, fmt.Errorf("%s is no directory", dir)
	}
	root, err := breaking.Root(ctx, dir)
	if err != nil {
		return nil, err
	}
	var more []breaking.Tree
	for _, p := range protoPath {
		t, err := breaking.FromDir(p)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("--proto-path %s: there is no such directory", p)
		}
		if err != nil {
			return nil, err
		}
		more = append(more, t)
	}
	then, err := breaking.FromGit(ctx, root, ref)
	if err != nil {
		return nil, err
	}
	today, err := breaking.FromDir(root)
	if err != nil {
		return nil, err
	}
	old, err := breaking.Compile(ctx, then, more...)
	if err != nil {
		return nil, fmt.Errorf("the contracts at %s do not compile: %w", ref, err)
	}
	now, err := breaking.Compile(ctx, today, more...)
	if err != nil {
		return nil, fmt.Errorf("the contracts do not compile: %w", err)
	}
	under, err := below(root, dir)
	if err != nil {
		return nil, err
	}
	found := []breaking.Change{}
	for _, c := range breaking.Compare(old, now, time.Now()) {
		if strings.HasPrefix(c.File, under) {
			found = append(found, c)
		}
	}
	return found, nil
}

// below returns the path of dir from the root, as a prefix of what is in it.
func below(root, dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err == nil {
		dir, err = filepath.EvalSymlinks(dir)
	}
	if err != nil {
		return "", err
	}
	rel, err := filepath.Rel(root, dir)
	if err != nil || rel == "." {
		return "", err
	}
	return filepath.ToSlash(rel) + "/", nil
}

// breakingList prints what breaks, for people.
func (a *app) breakingList(found []breaking.Change, ref string) error {
	if len(found) == 0 {
		_, err := fmt.Fprintf(a.screen.out, "nothing breaks who relies on %s\n", escape(ref))
		return err
	}
	file := ""
	for _, c := range found {
		if c.File != file {
			file = c.File
			if _, err := fmt.Fprintf(a.screen.out, "%s\n", a.screen.styled(escape(file), bold)); err != nil {
				return err
			}
		}
		text := fmt.Sprintf("  %s: %s\n    breaks %s\n    instead: %s\n", c.Name, c.What, strings.Join(c.Whom, ",\n           "), c.Instead)
		if _, err := fmt.Fprint(a.screen.out, text); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(a.screen.out, "%s since %s\n", counted(len(found), "breaking change"), escape(ref))
	return err
}
