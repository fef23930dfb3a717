package idempotency

// Trim is the work of the janitor, once.
var Trim = trim
