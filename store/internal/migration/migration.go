// Package migration applies sets of migrations through goose, for the adapters
// of the store.
package migration

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/pressly/goose/v3"

	"github.com/argosy-go/argosy/store"
)

var (
	setForm  = regexp.MustCompile(`^[a-z][a-z0-9_]{0,39}$`)
	fileForm = regexp.MustCompile(`^([0-9]{4,18})_[a-z0-9_-]+(?:\.([a-z]+))?\.sql$`)
	upForm   = regexp.MustCompile(`(?m)^\s*--\s*\+goose\s+Up\b`)
)

var gooseDialects = map[store.Dialect]goose.Dialect{
	store.SQLite:   goose.DialectSQLite3,
	store.Postgres: goose.DialectPostgres,
}

// Table returns the name of the table that remembers which migrations of a set
// have been applied.
func Table(set string) string { return "argosy_migrations_" + set }

// Up applies what is missing of a set. The caller sees to it that nobody else
// does so at the same time.
func Up(ctx context.Context, db *sql.DB, dialect store.Dialect, set string, files fs.FS) error {
	if !setForm.MatchString(set) {
		return fmt.Errorf("migration set %q: use lower case letters, digits and underscores, starting with a letter, at most 40", set)
	}
	root, others, err := Select(files, dialect)
	if err != nil {
		return fmt.Errorf("migration set %s: %w", set, err)
	}
	provider, err := goose.NewProvider(gooseDialects[dialect], db, root,
		goose.WithTableName(Table(set)), goose.WithExcludeNames(others),
		goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
	if err != nil {
		return fmt.Errorf("migration set %s: %w", set, err)
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("migration set %s: %w", set, err)
	}
	return nil
}

// Select returns the directory of the migrations and the names of the SQL
// files in it that are not for the dialect: overrides for another one, and
// files that are overridden. It reports every file that is misnamed, empty or
// without an "-- +goose Up".
//
// The directory is the root of files or, as with an embed.FS, the only
// directory in it.
func Select(files fs.FS, dialect store.Dialect) (root fs.FS, others []string, err error) {
	if files == nil {
		return nil, nil, errors.New("there are no files")
	}
	root, names, err := list(files)
	if err != nil {
		return nil, nil, err
	}
	var errs []error
	chosen := map[string]string{} // by version
	plain := map[string]string{}  // files without a dialect, by version
	for _, name := range names {
		version, of, err := parse(root, name)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		into := plain
		switch {
		case of == dialect:
			into = chosen
		case of != "":
			others = append(others, name)
			continue
		}
		if twin, ok := into[version]; ok {
			errs = append(errs, fmt.Errorf("%s and %s have the same number", twin, name))
		}
		into[version] = name
	}
	for version, name := range plain {
		if _, ok := chosen[version]; ok {
			others = append(others, name)
			continue
		}
		chosen[version] = name
	}
	if len(chosen) == 0 && len(errs) == 0 {
		errs = append(errs, fmt.Errorf("there is no migration for %s: files are named 0001_name.sql, or 0001_name.%s.sql", dialect, dialect))
	}
	slices.Sort(others)
	return root, others, errors.Join(errs...)
}

// list returns the SQL files of the directory that holds them.
func list(files fs.FS) (fs.FS, []string, error) {
	for {
		entries, err := fs.ReadDir(files, ".")
		if err != nil {
			return nil, nil, err
		}
		if len(entries) == 1 && entries[0].IsDir() {
			if files, err = fs.Sub(files, entries[0].Name()); err != nil {
				return nil, nil, err
			}
			continue
		}
		var names []string
		for _, e := range entries {
			if !e.IsDir() && path.Ext(e.Name()) == ".sql" {
				names = append(names, e.Name())
			}
		}
		return files, names, nil
	}
}

// parse reads the name of a file, and looks whether there is something in it.
func parse(root fs.FS, name string) (version string, of store.Dialect, err error) {
	m := fileForm.FindStringSubmatch(name)
	if m == nil {
		return "", "", fmt.Errorf("%s: the name must be like 0001_name.sql or 0001_name.sqlite.sql", name)
	}
	version, of = strings.TrimLeft(m[1], "0"), store.Dialect(m[2])
	if version == "" {
		return "", "", fmt.Errorf("%s: numbers start at 0001", name)
	}
	if _, ok := gooseDialects[of]; !ok && of != "" {
		return "", "", fmt.Errorf("%s: there is no dialect %q", name, of)
	}
	text, err := fs.ReadFile(root, name)
	if err != nil {
		return "", "", err
	}
	if len(bytes.TrimSpace(text)) == 0 {
		return "", "", fmt.Errorf("%s is empty", name)
	}
	if !upForm.Match(text) {
		return "", "", fmt.Errorf("%s has no line %q", name, "-- +goose Up")
	}
	return version, of, nil
}
