//go:build !mutant

// Package mutant holds the switches that break Argosy on purpose. Each removes
// one mechanism, so that a test can show that the mechanism is missed. In an
// ordinary build they are constants and cost nothing; a build with the tag
// "mutant" reads them from ARGOSY_MUTANT.
package mutant

// The mutants.
const (
	// NoInbox ("no-inbox"): a consumed event is not remembered.
	NoInbox = false
	// SentBeforeAck ("sent-before-ack"): the relay marks events sent before the broker has them.
	SentBeforeAck = false
	// SagaAfterCommit ("saga-after-commit"): a saga is started after the transaction, not in it.
	SagaAfterCommit = false
	// ReplyOutside ("reply-outside"): the reply to a key is stored in a transaction of its own.
	ReplyOutside = false
	// NoFsync ("no-fsync"): the store commits without waiting for the disk.
	NoFsync = false
	// AckBeforeCommit ("ack-before-commit"): an event is acknowledged before its effect is committed.
	AckBeforeCommit = false
	// NoFence ("no-fence"): transitions of a saga and the work on events do not check the lease epoch.
	NoFence = false
	// NoKeyLock ("no-key-lock"): events are written without the locks of their keys.
	NoKeyLock = false
)
