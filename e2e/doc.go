// Package e2e tests the shop as real processes: it builds the program, starts
// it, uses it over the network as a customer would, kills it, and audits what
// it left.
//
//	go test ./e2e
package e2e
