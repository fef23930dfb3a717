package identity

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/uuid"

	"github.com/argosy-go/argosy/store"
)

// makeDevUsers makes the two users that development and demonstrations sign in
// as, and prints where their password is.
func (i *identity) makeDevUsers(ctx context.Context) error {
	if !i.cfg.DevUsers {
		return nil
	}
	password, where, err := i.devPassword()
	if err != nil {
		return err
	}
	for _, u := range []user{
		{email: "customer@shop.test", roles: []string{"customer"}},
		{email: "support@shop.test", roles: []string{"support"}},
	} {
		if err := i.put(ctx, u, password); err != nil {
			return err
		}
		i.setup.Hint("sign in  %s with the password %s", u.email, where)
	}
	return nil
}

// devPassword returns the password that was given, or the data directory's
// own, which is made on first use, and where it is.
func (i *identity) devPassword() (password, where string, err error) {
	if i.cfg.DevPassword != "" {
		return i.cfg.DevPassword, "that was set", nil
	}
	path := filepath.Join(i.setup.Dir(), "dev-password")
	where = "in " + path
	b, err := os.ReadFile(path)
	if err == nil {
		return strings.TrimSpace(string(b)), where, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", "", err
	}
	password = strings.ToLower(rand.Text()[:16])
	return password, where, os.WriteFile(path, []byte(password+"\n"), 0o600)
}

// put makes the user, or gives it the password if it has another.
func (i *identity) put(ctx context.Context, u user, password string) error {
	known, err := i.find(ctx, "email", u.email)
	switch {
	case err == nil:
		if same, err := i.passwords.Verify(ctx, known.password, password); err != nil || same {
			return err
		}
	case !errors.Is(err, sql.ErrNoRows):
		return err
	}
	hash, err := i.passwords.Hash(ctx, password)
	if err != nil {
		return err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return fmt.Errorf("user id: %w", err)
	}
	return i.db.Do(ctx, func(ctx context.Context, tx *store.Tx) error {
		_, err := tx.ExecContext(ctx, `
			INSERT INTO users (id, email, password, roles) VALUES ($1, $2, $3, $4)
			ON CONFLICT (email) DO UPDATE SET password = excluded.password`,
			id.String(), u.email, hash, strings.Join(u.roles, " "))
		return err
	})
}
