package httpapi

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// counted is a renderCache that counts what it makes.
type counted struct {
	renderCache[string]
	renders []string
}

func (c *counted) ask(key string) *rendering {
	return c.get(key, 0, func() []byte {
		c.renders = append(c.renders, key)
		return []byte(key)
	})
}

// TestRenderOutOfTurn: requests that were there when the value changed come in any
// order. Each value's body is made once all the same.
func TestRenderOutOfTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c counted
		for range 100 {
			for _, key := range []string{"old", "new", "old", "old"} {
				if got := c.ask(key); string(got.body) != key {
					t.Fatalf("asked for %s, got %s", key, got.body)
				}
			}
		}
		if !slices.Equal(c.renders, []string{"old", "new"}) {
			t.Errorf("made: %v", c.renders)
		}
		// The older one is not kept for long, and the newer one is kept.
		time.Sleep(2 * keepPrevious)
		c.ask("new")
		if c.previous != nil {
			t.Error("the older value's bodies are still in memory")
		}
		if c.ask("new"); len(c.renders) != 2 {
			t.Errorf("made: %v", c.renders)
		}
	})
}

// TestRenderAtOnce: a body is made once however many ask at the same time, and who
// asks for what is there already waits for nobody.
func TestRenderAtOnce(t *testing.T) {
	var c counted
	there := c.ask("there")
	inside, goOn := make(chan struct{}), make(chan struct{})
	var clients sync.WaitGroup
	for range 100 {
		clients.Go(func() {
			c.get("slow", 0, func() []byte {
				c.renders = append(c.renders, "slow")
				close(inside)
				<-goOn
				return nil
			})
		})
	}
	<-inside
	answered := make(chan *rendering, 1)
	go func() { answered <- c.ask("there") }()
	select {
	case got := <-answered:
		if got != there {
			t.Error("made again")
		}
	case <-time.After(2 * time.Minute):
		t.Error("who asks for what is there waits for what is being made")
	}
	close(goOn)
	clients.Wait()
	if !slices.Equal(c.renders, []string{"there", "slow"}) {
		t.Errorf("made: %v", c.renders)
	}
}
