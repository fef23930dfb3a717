// Command argosy runs a program as a fleet of processes, and is what operators
// work with: it looks into the services of a running fleet and repairs them,
// over the admin listener.
//
//	argosy up ./shop                    one process a service
//	argosy event status                 what waits, and what was given up
//	argosy event dead list              the events that consumers gave up on
//	argosy event dead replay 0198…      try one of them again
//	argosy saga list --state parked     the sagas that wait for a person
//	argosy saga retry 0198…             go on with one of them
//
// docs/reference/cli.md is its --help, all of it; a test keeps it so.
//
// A command is a file: it declares its flags and says what it does with an
// [app], which holds the settings, the connection ([client]) and what is
// printed ([screen]). Nothing else reads the environment but net/http, for its
// proxy, and nothing that a service answered is printed unescaped.
package main
