//go:build mutant

// Package mutant holds the switches that break Argosy on purpose.
package mutant

import "os"

var name = os.Getenv("ARGOSY_MUTANT")

// The mutants; the build without the tag documents them.
var (
	NoInbox         = name == "no-inbox"
	SentBeforeAck   = name == "sent-before-ack"
	SagaAfterCommit = name == "saga-after-commit"
	ReplyOutside    = name == "reply-outside"
	NoFsync         = name == "no-fsync"
	AckBeforeCommit = name == "ack-before-commit"
	NoFence         = name == "no-fence"
	NoKeyLock       = name == "no-key-lock"
)
