//go:build invariants

package zk

import (
	"runtime"
	"strings"
	"testing"
	"time"
)

// A dropped Client is reported with the place where it was opened; a closed one
// is not.
func TestDroppedClient(t *testing.T) {
	reports := make(chan string, 2)
	old := onDropped
	onDropped = func(where string) { reports <- where }
	defer func() { onDropped = old }()
	var inner *client
	func() {
		closed, err := Open(Config{Servers: []string{"127.0.0.1:1"}})
		if err != nil {
			t.Fatal(err)
		}
		if err := closed.Close(); err != nil {
			t.Fatal(err)
		}
		dropped, err := Open(Config{Servers: []string{"127.0.0.1:1"}})
		if err != nil {
			t.Fatal(err)
		}
		inner = dropped.client
	}()
	deadline := time.After(2 * time.Minute)
	for done := false; !done; {
		runtime.GC()
		select {
		case where := <-reports:
			if !strings.Contains(where, "invariants_on_test.go:") {
				t.Errorf("opened at %s", where)
			}
			done = true
		case <-deadline:
			t.Fatal("nothing was reported")
		case <-time.After(time.Millisecond):
		}
	}
	if err := inner.Close(); err != nil {
		t.Error(err)
	}
	for range 3 {
		runtime.GC()
	}
	if len(reports) != 0 {
		t.Errorf("a closed client was reported: %s", <-reports)
	}
}
