package client

import (
	"context"
	"sync"
	"time"
)

// lookout looks for a server that knows more, while the preferred one serves old answers.
type lookout struct {
	client *Client

	mu   sync.Mutex
	last time.Time
}

// elsewhere asks the other servers if an answer of this one is so old. If one of them has a younger
// one, it is preferred from then on. elsewhere reports that.
func (l *lookout) elsewhere(ctx context.Context, s server, r request, age time.Duration) bool {
	if age < staleAfter || len(l.client.servers.all) == 1 || !l.due() {
		return false
	}
	for _, other := range l.client.servers.inTurn() {
		if other == s {
			continue
		}
		got, err := l.client.askOne(ctx, other, r, l.client.cfg.Timeout)
		if err == nil && got.Cache != "" && !got.doubtful() && got.Age() < age/2 {
			l.client.servers.prefer(other)
			return true
		}
	}
	return false
}

// due reports whether it is time to look again, and takes it that it is done.
func (l *lookout) due() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if time.Since(l.last) < staleAfter {
		return false
	}
	l.last = time.Now()
	return true
}
