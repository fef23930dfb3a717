package store

import "sync"

// parts is what mechanisms keep with a database.
type parts struct {
	mu   sync.Mutex
	list []any
}

// Part returns the database's own instance of T, made on first use. It is how
// a mechanism keeps state that belongs to one database, as the callers that
// wait for each other's replies do: T is a type of the mechanism's own.
func Part[T any](db *DB, create func() *T) *T {
	db.parts.mu.Lock()
	defer db.parts.mu.Unlock()
	if p := find[T](&db.parts); p != nil {
		return p
	}
	p := create()
	db.parts.list = append(db.parts.list, p)
	return p
}

// Find returns the database's instance of T, or nil when there is none.
func Find[T any](db *DB) *T {
	db.parts.mu.Lock()
	defer db.parts.mu.Unlock()
	return find[T](&db.parts)
}

func find[T any](p *parts) *T {
	for _, v := range p.list {
		if v, ok := v.(*T); ok {
			return v
		}
	}
	return nil
}
