// Package ledger keeps the append-only book of a witness: one JSON object a
// line, on disk before anybody is told.
//
//	l, past, err := ledger.Open("bank.ledger.jsonl")
//	r := l.Append(ledger.Entry{Kind: "capture", Reference: "order-1"})
//	err = r.Wait() // nil: it is on disk
//
// Concurrent appends share one write and one fsync. A tail torn by a crash is
// cut when the ledger is opened, and skipped by [Read], which may look on while
// a witness writes. Nothing here imports the framework under audit.
package ledger
