// Package supervise keeps processes running: each is started, asked whether it
// is ready, started again when it dies, and stopped when it is time.
//
//	p := supervise.Start(supervise.Spec{
//		Name: "order-1", Command: []string{"./shop", "--only=order"},
//		Ready: func(ctx context.Context) error { return ask(ctx, "http://127.0.0.1:9091/readyz") },
//	}, supervise.Config{Changed: func(s supervise.Status) { fmt.Println(s.Name, s.State) }})
//	<-p.Ready()
//	err := p.Stop(ctx)
//
// A process runs in a process group of its own, so that a Ctrl-C on the
// terminal reaches the supervisor alone, which stops the processes in its
// order. On Linux a process is asked to end when its supervisor dies.
package supervise
