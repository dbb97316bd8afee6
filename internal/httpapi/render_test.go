package httpapi

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"magellan/internal/discovery"
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

// TestBadCitizensKey: two times have the same key if and only if the list has the
// same entries then.
func TestBadCitizensKey(t *testing.T) {
	var text strings.Builder
	began := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	for i := range 20 { // some at the same time, and some never
		fmt.Fprintf(&text, "192.0.2.%d expires=%s\n198.51.100.%d\n", i, began.Add(time.Duration(i/3)*time.Second).Format(time.RFC3339), i)
	}
	decoded, err := discovery.DecodeBadCitizens("x", []byte(text.String()), 1)
	if err != nil {
		t.Fatal(err)
	}
	list := discovery.NewBlocklist(1, decoded)
	bodies := make(map[int]string)
	for at := began.Add(-time.Second); at.Before(began.Add(10 * time.Second)); at = at.Add(100 * time.Millisecond) {
		key, body := list.Len(at), string(renderText(list.Entries(at)))
		if other, ok := bodies[key]; ok && other != body {
			t.Errorf("%v: one key for two bodies", at)
		}
		bodies[key] = body
	}
	if len(bodies) != 8 {
		t.Errorf("%d keys, want one more than there are expiries", len(bodies))
	}
}
