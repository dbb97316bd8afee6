package cache

import "sync"

// probesInFlight is how many probes of one probing are queued or in flight at a time, because
// changes wait behind them in the same lane.
const probesInFlight = 64

// probe is one of many reads, none of which is urgent. It is a request of a session.
type probe struct {
	on *session
	// read issues the read, and calls done on the dispatcher goroutine.
	read func(done func(error))
	// ended is called with the error of the read, or with why the session refused it.
	ended func(error)
}

func (p *probe) issue() {
	p.read(func(err error) {
		p.ended(translate(err))
		p.on.release()
	})
}

func (p *probe) fail(err error) { p.ended(err) }

// probing makes many probes, a bounded number at a time. If one of them fails, the rest are
// not made.
type probing struct {
	done func(error)

	mu   sync.Mutex
	left []*probe
	err  error
	rows int // rows that have not ended; a row makes one probe after the other
}

// startProbing begins to make probes, and calls done once all that were begun have ended, with
// an error if one has failed.
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
