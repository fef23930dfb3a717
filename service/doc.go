// Package service is what a declared service offers to the mechanisms that
// serve it: its name, database, declared edges, background workers, start
// hooks. Users meet [Setup] under the name argosy.Setup:
//
//	func setup(s *argosy.Setup) error {
//		db := s.DB(migrations)
//		orderpb.RegisterOrdersServer(s, &orders{db: db})
//		return nil
//	}
//
// A service's life, in order:
//
//	declare   Setup functions run; handles fail with "not open"
//	open      configuration, telemetry, stores with migrations, broker
//	start     OnStart hooks, in the order in which they were declared
//	work      workers run, listeners accept, readiness turns true
//	drain     readiness false; intake stops; handlers finish; work stops; output stops
//	close     OnStop hooks in reverse, broker, stores last
package service
