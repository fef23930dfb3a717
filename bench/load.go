package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// caller makes the calls of one goroutine, one after the other.
type caller interface {
	call() error
	close() error
}

// works are what a client can be told to do, each as a maker of callers.
type works map[string]func(ctx context.Context) (caller, error)

// remember is how many latencies one goroutine keeps.
const remember = 1 << 16

// load answers the orders of a client.
func (w works) load(ctx context.Context) func(order) (answer, error) {
	return func(o order) (answer, error) {
		open, ok := w[o.Work]
		if !ok {
			return answer{}, fmt.Errorf("this side does no %q", o.Work)
		}
		callers, latencies := make([]caller, o.Flight), make([][]time.Duration, o.Flight)
		for i := range callers {
			c, err := open(ctx)
			if err != nil {
				return answer{}, err
			}
			callers[i], latencies[i] = c, make([]time.Duration, 0, remember/o.Flight)
		}
		before, err := used()
		if err != nil {
			return answer{}, err
		}
		a, err := together(callers, latencies, o.For)
		if err != nil {
			return answer{}, err
		}
		after, err := used()
		a.Usage = after.since(before)
		for _, c := range callers {
			if err := c.close(); err != nil {
				return answer{}, err
			}
		}
		return a, err
	}
}

// together lets all callers call for a while.
func together(callers []caller, latencies [][]time.Duration, d time.Duration) (answer, error) {
	var wg sync.WaitGroup
	counts, errs := make([]int, len(callers)), make([]error, len(callers))
	begun := time.Now()
	for i, c := range callers {
		wg.Go(func() {
			for at := begun; at.Sub(begun) < d; counts[i]++ {
				if errs[i] = c.call(); errs[i] != nil {
					return
				}
				end := time.Now()
				if len(latencies[i]) < cap(latencies[i]) {
					latencies[i] = append(latencies[i], end.Sub(at))
				}
				at = end
			}
		})
	}
	wg.Wait()
	a := answer{Took: time.Since(begun)}
	for i, err := range errs {
		if err != nil {
			return a, err
		}
		a.Calls += counts[i]
	}
	all := slices.Concat(latencies...)
	slices.Sort(all)
	a.P50, a.P99 = all[len(all)/2], all[len(all)*99/100]
	return a, nil
}
