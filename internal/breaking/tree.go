package breaking

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
)

// maxFile is the largest contract that is read, in bytes.
const maxFile = 4 << 20

// Tree holds the contracts of a repository: their text by their path from its
// root, with slashes.
type Tree map[string][]byte

// Root returns the root of the git repository that dir is in.
func Root(ctx context.Context, dir string) (string, error) {
	out, err := git(ctx, dir, "rev-parse", "--show-toplevel")
	return strings.TrimSpace(string(out)), err
}

// FromDir reads the contracts below a directory as they are now.
func FromDir(dir string) (Tree, error) {
	t := Tree{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		switch {
		case d.IsDir() && rel != "." && skipped(rel):
			return filepath.SkipDir
		case !d.Type().IsRegular() || path.Ext(rel) != ".proto":
			return nil
		}
		f, err := os.Open(p)
		if err != nil {
			return err
		}
		defer f.Close()
		return t.add(rel, f)
	})
	return t, err
}

// FromGit reads the contracts of the git repository whose root is dir as they
// are at ref: a branch, a tag or a commit.
func FromGit(ctx context.Context, dir, ref string) (Tree, error) {
	if strings.HasPrefix(ref, "-") {
		return nil, fmt.Errorf("%q is no branch, tag or commit", ref)
	}
	if _, err := git(ctx, dir, "rev-parse", "--verify", "--quiet", ref+"^{commit}"); err != nil {
		return nil, fmt.Errorf("%q is no branch, tag or commit of the repository in %s", ref, dir)
	}
	out, err := git(ctx, dir, "archive", "--format=tar", ref)
	if err != nil {
		return nil, err
	}
	t := Tree{}
	for r := tar.NewReader(bytes.NewReader(out)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return t, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read what git has at %s: %w", ref, err)
		}
		if h.Typeflag != tar.TypeReg || path.Ext(h.Name) != ".proto" || skipped(path.Dir(h.Name)) {
			continue
		}
		if err := t.add(h.Name, r); err != nil {
			return nil, err
		}
	}
}

// add reads one contract.
func (t Tree) add(name string, r io.Reader) error {
	text, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	if len(text) > maxFile {
		return fmt.Errorf("%s is larger than %d bytes", name, maxFile)
	}
	t[name] = text
	return nil
}

// skipped reports whether a folder holds nothing that is somebody's contract.
func skipped(dir string) bool {
	for part := range strings.SplitSeq(dir, "/") {
		if part == "testdata" || part == "vendor" || part == "node_modules" || len(part) > 1 && part[0] == '.' {
			return true
		}
	}
	return false
}

// git runs git in a directory and returns what it printed.
func git(ctx context.Context, dir string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "git", append([]string{"-C", dir}, args...)...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("git %s: %w: %s", args[0], err, strings.TrimSpace(errs.String()))
	}
	return out, nil
}
