package event

import "sync"

// lanes runs jobs: those of one key one after the other in the order in which
// they were added, those of different keys at the same time, up to a limit.
type lanes struct {
	slots chan struct{}

	mu      sync.Mutex
	queues  map[string][]func() // a key is present while a goroutine works on it
	stopped bool
	work    sync.WaitGroup
}

// newLanes returns lanes whose jobs each hold one of the slots, which others may share.
func newLanes(slots chan struct{}) *lanes {
	return &lanes{slots: slots, queues: map[string][]func(){}}
}

// add queues a job. After stop it does nothing.
func (l *lanes) add(key string, job func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stopped {
		return
	}
	queue, busy := l.queues[key]
	l.queues[key] = append(queue, job)
	if !busy {
		l.work.Go(func() { l.run(key) })
	}
}

// stop drops the jobs that wait and returns when those that run have ended.
func (l *lanes) stop() {
	l.mu.Lock()
	l.stopped = true
	l.mu.Unlock()
	l.work.Wait()
}

func (l *lanes) run(key string) {
	for {
		job := l.next(key)
		if job == nil {
			return
		}
		l.slots <- struct{}{}
		job()
		<-l.slots
	}
}

// next takes the next job of a key; with none left it forgets the key.
func (l *lanes) next(key string) func() {
	l.mu.Lock()
	defer l.mu.Unlock()
	queue := l.queues[key]
	if len(queue) == 0 || l.stopped {
		delete(l.queues, key)
		return nil
	}
	job := queue[0]
	queue[0] = nil
	l.queues[key] = queue[1:]
	return job
}
