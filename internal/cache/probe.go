package cache

import "sync"

// probesInFlight bounds how many probes of one probing wait for a place in flight, so
// that changes wait behind no more.
const probesInFlight = 64

// probe is one of many reads of which none is urgent. It is a request of a session.
type probe struct {
	on *session
	// read issues it, and calls done on the dispatcher.
	read func(done func(error))
	// ended is told the outcome, or why it was refused.
	ended func(error)
}

func (p *probe) issue() {
	p.read(func(err error) {
		p.ended(translate(err))
		p.on.release()
	})
}

func (p *probe) fail(err error) { p.ended(err) }

// probing is many probes that are under way, a bounded number at a time. One that fails
// ends it.
type probing struct {
	done func(error)

	mu   sync.Mutex
	left []*probe
	err  error
	rows int // that have not ended: each is one probe after the other
}

// startProbing begins to probe, and calls done once all of it has ended.
func startProbing(probes []*probe, done func(error)) {
	w := &probing{done: done, left: probes, rows: probesInFlight}
	for range probesInFlight {
		w.next()
	}
}

// next starts the next probe of a row, or ends the row.
func (w *probing) next() {
	w.mu.Lock()
	if len(w.left) == 0 {
		w.rows--
		last, err := w.rows == 0, w.err
		w.mu.Unlock()
		if last {
			w.done(err)
		}
		return
	}
	p := w.left[0]
	w.left = w.left[1:]
	w.mu.Unlock()
	p.ended = func(err error) {
		if err != nil {
			w.mu.Lock()
			w.err, w.left = err, nil
			w.mu.Unlock()
		}
		w.next()
	}
	p.on.submit(p)
}
