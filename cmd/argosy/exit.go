package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"

	"github.com/argosy-go/argosy/fault"
)

// Exit codes. Scripts rely on them: they do not change.
const (
	exitOK          = 0
	exitFailed      = 1 // it was tried and did not work
	exitUsage       = 2 // the command line is wrong, or an answer is missing
	exitNotFound    = 3 // there is no such thing
	exitRefused     = 4 // this operator may not
	exitUnreachable = 5 // nobody answers
)

// usageError is a mistake of the person at the keyboard.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

func usagef(format string, args ...any) error { return &usageError{fmt.Sprintf(format, args...)} }

// notFoundError says what there is none of, and what there is.
type notFoundError struct{ text string }

func (e *notFoundError) Error() string { return e.text }

func notFoundf(format string, args ...any) error {
	return &notFoundError{fmt.Sprintf(format, args...)}
}

// unreachableError says that nobody answered at an address.
type unreachableError struct {
	address string
	cause   error
}

func (e *unreachableError) Error() string {
	return fmt.Sprintf("nobody answers at %s: %v\nIs the program running? It prints the address of its admin listener when it is ready: give it by --admin or ARGOSY_ADMIN_URL.", e.address, e.cause)
}

func (e *unreachableError) Unwrap() error { return e.cause }

// partError is what failed of several things; what failed is told already.
type partError struct{ failed, of int }

func (e *partError) Error() string { return fmt.Sprintf("%d of %d failed", e.failed, e.of) }

// exitCode returns the exit code that tells what err is.
func exitCode(err error) int {
	if err == nil {
		return exitOK
	}
	if _, ok := errors.AsType[*usageError](err); ok {
		return exitUsage
	}
	if _, ok := errors.AsType[*notFoundError](err); ok {
		return exitNotFound
	}
	if _, ok := errors.AsType[*unreachableError](err); ok {
		return exitUnreachable
	}
	f, ok := errors.AsType[*fault.Error](err)
	if !ok {
		return exitFailed
	}
	switch f.Code {
	case codes.InvalidArgument:
		return exitUsage
	case codes.NotFound:
		return exitNotFound
	case codes.Unauthenticated, codes.PermissionDenied:
		return exitRefused
	case codes.Unavailable:
		return exitUnreachable
	}
	return exitFailed
}

// explain prints an error: what was wrong, where, and what to do.
func (a *app) explain(cmd *cobra.Command, err error) {
	text := message(err)
	if f, ok := errors.AsType[*fault.Error](err); ok && f.Code == codes.Unauthenticated {
		text += "\nPut the token into a file and name it by --token-file, or into ARGOSY_ADMIN_TOKEN."
	}
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lines[i] = escape(line)
	}
	fmt.Fprintf(a.errs, "argosy: %s\n", strings.Join(lines, "\n"))
	if _, ok := errors.AsType[*usageError](err); ok && cmd != nil {
		fmt.Fprintf(a.errs, "%s --help tells more.\n", cmd.CommandPath())
	}
}

// message returns the text of an error for people. What a service answered is
// told by its message, its reason and the fields that are wrong.
func message(err error) string {
	f, ok := errors.AsType[*fault.Error](err)
	if !ok {
		return err.Error()
	}
	text := escape(f.Message) // a line's end in it would look like ours
	if text == "" {
		text = f.Code.String()
	}
	if f.Reason != "" {
		text += " (" + f.Reason + ")"
	}
	if f.Service != "" {
		text = f.Service + ": " + text
	}
	for _, v := range f.Violations {
		if !strings.Contains(f.Message, v.Description) {
			text += fmt.Sprintf("\n  %s: %s", escape(v.Field), escape(v.Description))
		}
	}
	if before, _, wrapped := strings.Cut(err.Error(), f.Error()); wrapped && before != "" {
		text = before + text
	}
	return text
}
