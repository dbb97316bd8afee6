package zk_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"

	"magellan/internal/zk"
	"magellan/internal/zk/zktest"
)

// through returns a proxy before the server, whose connections can be cut.
func through(t *testing.T, s *zktest.Server) *toxiproxy.Proxy {
	t.Helper()
	return proxyAt(t, "127.0.0.1:0", s.Addr())
}

// proxyAt returns a proxy that listens at an address of its own.
func proxyAt(t *testing.T, at, to string) *toxiproxy.Proxy {
	t.Helper()
	p := toxiproxy.NewProxy(toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.New(io.Discard)), "zk", at, to)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	return p
}

// A cut connection fails what is in flight, and the session goes on.
func TestCutConnection(t *testing.T) {
	t.Parallel()
	s := zktest.Start(t)
	p := through(t, s)
	var rec recorder
	c := open(t, rec.into(zk.Config{Servers: []string{p.Listen}, SessionTimeout: 30 * time.Second}))
	// The root has not changed for long: no event is sent again, see zxid.c.
	if _, _, err := c.GetW(testContext(t), "/"); err != nil {
		t.Fatal(err)
	}
	other := open(t, zk.Config{}, s)
	for range 5 {
		rec.reset()
		p.Stop()
		eventually(t, "disconnected", func() bool { return rec.states() == "disconnected 1" })
		if err := p.Start(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "ready", func() bool { return rec.states() == "disconnected 1, ready 1" })
	}
	set(t, other, "/", "x")
	syncNow(t, c)
	if got := rec.fired(); len(got) != 1 {
		t.Errorf("after five cuts the watch fired %d times", len(got))
	}
}

// A network that swallows everything, without a word, is noticed.
func TestBlackHole(t *testing.T) {
	t.Parallel()
	s := zktest.Start(t)
	p := through(t, s)
	c := open(t, zk.Config{Servers: []string{p.Listen}, SessionTimeout: shortSession})
	for _, direction := range []string{"upstream", "downstream"} {
		if _, err := p.Toxics.AddToxicJson(toxic(direction, "timeout", `"timeout": 0`)); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := c.Get(testContext(t), "/"); !errors.Is(err, zk.ErrConnectionLoss) && !errors.Is(err, zk.ErrOperationTimeout) {
		t.Errorf("Get: %v", err)
	}
	eventually(t, "it is noticed", func() bool { return c.State() == zk.Disconnected })
	p.Toxics.ResetToxics(testContext(t))
	if err := c.WaitReady(testContext(t)); err != nil {
		t.Error(err)
	}
}

// Answers that come in crumbs are put together.
func TestSlicedStream(t *testing.T) {
	t.Parallel()
	s := zktest.Start(t)
	p := through(t, s)
	c := open(t, zk.Config{Servers: []string{p.Listen}})
	data := make([]byte, 20_000)
	for i := range data {
		data[i] = byte(i * i)
	}
	create(t, c, "/a", data)
	for _, direction := range []string{"upstream", "downstream"} {
		if _, err := p.Toxics.AddToxicJson(toxic(direction, "slicer", `"average_size": 100, "size_variation": 90, "delay": 10`)); err != nil {
			t.Fatal(err)
		}
	}
	for range 5 {
		if got, _, err := c.Get(testContext(t), "/a"); err != nil || string(got) != string(data) {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
	}
}

// toxic returns what toxiproxy's own API takes.
func toxic(direction, kind, attributes string) io.Reader {
	return strings.NewReader(fmt.Sprintf(`{"name": %q, "type": %q, "stream": %q, "attributes": {%s}}`,
		kind+direction, kind, direction, attributes))
}
