package cache

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"magellan/internal/zk"
)

// TestProblemsAreBounded: the newest are kept, and all of directories.
func TestProblemsAreBounded(t *testing.T) {
	c, err := newMirror(Config{Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	p := c.problems
	denied := errors.New("not permitted")
	for i := range maxKeyedProblems {
		p.report(layout.BadCitizenList(fmt.Sprint("list-", i)), denied, 1, 0)
	}
	const many, more = maxKeyedProblems + 500, 500
	for i := range many {
		p.report(layout.Shop(fmt.Sprint("shop-", i)), denied, 1, 0)
		p.report(layout.Shop(fmt.Sprint("shop-", i)), denied, 2, 0) // is no other
	}
	if kept, dropped := p.count(); kept != 2*maxKeyedProblems || dropped != more {
		t.Errorf("%d kept, %d dropped", kept, dropped)
	}
	for i := range many {
		if one, is := p.get(layout.Shop(fmt.Sprint("shop-", i))); is != (i >= more) || is && one.Zxid != 2 {
			t.Fatalf("shop %d: %+v, %v", i, one, is)
		}
	}
	said := ""
	for _, one := range p.list() {
		if one.Path == layout.ShopsDir() {
			said = one.Error
		}
	}
	if !strings.HasPrefix(said, "500 more") {
		t.Errorf("of those that are not listed: %q", said)
	}
	// Those that are well again leave room.
	for i := more; i < many; i++ {
		p.resolve(layout.Shop(fmt.Sprint("shop-", i)))
		p.report(layout.Shop(fmt.Sprint("other-", i)), denied, 1, 0)
	}
	if kept, dropped := p.count(); kept != 2*maxKeyedProblems || dropped != more || p.keyed[c.homes].newest.Len() != maxKeyedProblems {
		t.Errorf("%d kept (%d shops), %d dropped", kept, p.keyed[c.homes].newest.Len(), dropped)
	}
}

// TestForgottenProblem: what is not held any more is not said to be well again.
func TestForgottenProblem(t *testing.T) {
	var log bytes.Buffer
	c, err := newMirror(Config{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	p, path := c.problems, layout.Shop("42")
	for _, end := range []struct {
		how  string
		f    func(string)
		want int // lines of INFO
	}{{"evicted", p.forget, 0}, {"mended", p.resolve, 1}} {
		log.Reset()
		p.report(path, errors.New("it does not parse"), 1, 0)
		end.f(path)
		if _, is := p.get(path); is || strings.Count(log.String(), "level=INFO") != end.want {
			t.Errorf("%s: a problem is left: %v; the log:\n%s", end.how, is, log.String())
		}
	}
}

// TestEvictedBrokenEntry: its problem goes with it, and nothing says that the znode is better.
func TestEvictedBrokenEntry(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.put(layout.Shop("42"), "{")
	var log bytes.Buffer
	c, err := newMirror(Config{Logger: slog.New(slog.NewTextHandler(&log, nil)), ZooKeeper: zk.Config{Servers: []string{w.server.Addr()}, Logger: quiet}})
	w.must(err)
	w.must(c.Start())
	w.cache = c
	w.must(c.WaitReady(w.soon()))
	if got, _ := w.ask("42"); got != "unreadable" || len(c.Problems()) != 1 {
		t.Fatalf("%s; problems: %+v", got, c.Problems())
	}
	hash := c.hash("42")
	c.keep.Wait()
	c.drop(hash, c.index.entry(hash))
	c.keep.Del(hash)
	w.noProblems()
	w.must(c.Close())
	if text := log.String(); strings.Contains(text, "no problem any more") {
		t.Errorf("the log: %s", text)
	}
}
