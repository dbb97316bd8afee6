package cache

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"magellan/internal/discovery"
	"magellan/internal/shops"
	"magellan/internal/zk"
)

// lagging stands between a client and its server and does what a leader does that
// has not applied yet what it has committed: it answers a sync, and the event of a
// write that others have been told is done comes after that answer.
type lagging struct {
	server   string
	listener net.Listener
	running  sync.WaitGroup

	mu    sync.Mutex
	conns []net.Conn
	syncs map[uint32]bool // by xid: asked for and not answered
	// late: the newest write is not applied. It is once a second sync is answered.
	late     bool
	answered int
	held     [][]byte // events that come once it is
	zxid     uint64   // of the last answer before
}

// startLagging returns a proxy that lags when it is told to.
func startLagging(w *world) *lagging {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	w.must(err)
	p := &lagging{server: w.server.Addr(), listener: listener, syncs: map[uint32]bool{}}
	p.running.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", p.server)
			if err != nil {
				client.Close()
				continue
			}
			p.mu.Lock()
			p.conns = append(p.conns, client, server)
			p.mu.Unlock()
			p.running.Go(func() { p.pass(client, server, p.asked) })
			p.running.Go(func() { p.pass(server, client, p.answer) })
		}
	})
	w.Cleanup(func() {
		listener.Close()
		p.mu.Lock()
		for _, c := range p.conns {
			c.Close()
		}
		p.mu.Unlock()
		p.running.Wait()
	})
	return p
}

// pass hands on what edit makes of each packet; the first is of the session.
func (p *lagging) pass(from, to net.Conn, edit func(packet []byte) [][]byte) {
	defer to.Close()
	for first := true; ; first = false {
		packet := make([]byte, 4)
		if _, err := io.ReadFull(from, packet); err != nil {
			return
		}
		packet = append(packet, make([]byte, binary.BigEndian.Uint32(packet))...)
		if _, err := io.ReadFull(from, packet[4:]); err != nil {
			return
		}
		all := [][]byte{packet}
		if !first {
			all = edit(packet)
		}
		for _, one := range all {
			if _, err := to.Write(one); err != nil {
				return
			}
		}
	}
}

func (p *lagging) asked(packet []byte) [][]byte {
	const opSync = 9
	if binary.BigEndian.Uint32(packet[8:]) == opSync {
		p.mu.Lock()
		p.syncs[binary.BigEndian.Uint32(packet[4:])] = true
		p.mu.Unlock()
	}
	return [][]byte{packet}
}

func (p *lagging) answer(packet []byte) [][]byte {
	const event = 1<<32 - 1
	xid, zxid := binary.BigEndian.Uint32(packet[4:]), packet[8:16]
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.syncs[xid] {
		delete(p.syncs, xid)
		p.answered++
	}
	var before [][]byte
	switch {
	case p.late && p.answered > 1:
		before, p.held, p.late = p.held, nil, false
	case p.late && xid == event:
		p.held = append(p.held, packet)
		return nil
	case p.late:
		binary.BigEndian.PutUint64(zxid, p.zxid)
	case xid != event:
		p.zxid = binary.BigEndian.Uint64(zxid)
	}
	return append(before, packet)
}

// lag has the next write be late.
func (p *lagging) lag() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.late, p.answered = true, 0
}

// lags says how many events wait for the write to be applied.
func (p *lagging) lags() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.held)
}

// TestFreshSyncsTwice: the leader answers a sync before it has applied a write that
// is done for the one who wrote, and a second one after. What is asked for with
// no-cache has the write in it.
func TestFreshSyncsTwice(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.shop("42", "ash0")
	w.put(layout.BadCitizenList("a"), "203.0.113.1\n")
	proxy := startLagging(w)
	// Syncs of the heartbeat would be taken for those of the answer.
	c := w.open(Config{ZooKeeper: zk.Config{Servers: []string{proxy.listener.Addr().String()}, Heartbeat: -1}})
	w.expect("42", "ash0", discovery.Hit)
	fresh := discovery.ReadOptions{Fresh: true}
	for _, tt := range []struct {
		name  string
		write func(n int)
		ask   func() (string, error)
	}{
		{"Shop", func(n int) { w.shop("42", strconv.Itoa(n)) }, func() (string, error) {
			shop, _, err := c.Shop(w.soon(), "42", fresh)
			if err != nil {
				return "", err
			}
			return shop.Datacenter, nil
		}},
		{"Shops", func(n int) { w.shop("42", strconv.Itoa(n)) }, func() (string, error) {
			out := make([]shops.ShopRead, 1)
			c.Shops(w.soon(), []string{"42"}, fresh, out)
			if out[0].Err != nil {
				return "", out[0].Err
			}
			return out[0].Value.Datacenter, nil
		}},
		{"Topology", func(n int) { w.datacenter("ash1", "us-east1", n) }, func() (string, error) {
			topology, _, err := c.Topology(w.soon(), fresh)
			if err != nil {
				return "", err
			}
			d, _ := topology.Datacenter("ash1")
			return strconv.FormatInt(d.Assigned, 10), nil
		}},
		{"Blocklist", func(n int) {
			w.put(layout.BadCitizenList("a"), strings.Repeat("#\n", n)+fmt.Sprintf("203.0.113.%d\n", n))
		}, func() (string, error) {
			list, _, err := c.Blocklist(w.soon(), fresh)
			if err != nil {
				return "", err
			}
			for n := range 256 {
				if _, ok := list.Lookup(netip.AddrFrom4([4]byte{203, 0, 113, byte(n)}), time.Now()); ok {
					return strconv.Itoa(n), nil
				}
			}
			return "none", nil
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for n := range 3 {
				proxy.lag()
				tt.write(100 + n)
				w.eventually(func() string {
					if proxy.lags() == 0 {
						return "the server has sent no event"
					}
					return ""
				})
				if got, err := tt.ask(); err != nil || got != strconv.Itoa(100+n) {
					t.Errorf("after the write of %d: %s, %v", 100+n, got, err)
				}
			}
		})
	}
}
