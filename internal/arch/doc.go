// Package arch holds the repository to its layers and manners:
//
//	go test ./internal/arch
//
// layers.txt says which room may import which, what only some rooms may
// import, and which packages are test kits; a package without a room fails.
// Besides, no package has an init function, a variable without a value, or a
// name that says nothing, reads the environment or uses what is global to the
// process; every package and exported identifier says what it is; functions
// are short and a long file says why; tests neither sleep nor skip; and each
// module that is imported has its line in docs/dependencies.md.
//
// A failure names file, line and rule. The rules read the source of every
// file, whatever its build tags; nothing is skipped but testdata and what a
// generator wrote, and of that only the manners.
package arch
