package proof

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"

	"magellan/internal/zk/zktest"
)

// linkPort is below the range of outgoing connections, on an address of the
// replica's own: while a link is cut nobody else takes its port.
const linkPort = 21830

// links are the ways of one replica to the servers, each through toxiproxy and
// a tap.
type links struct {
	now func() instant

	mu   sync.Mutex
	all  []*link
	dark []span // the last one has no end while it lasts
}

// link is the way to one server. Faults that overlap cut it more than once.
type link struct {
	addr   string
	proxy  *toxiproxy.Proxy
	toxics []string // of the next proxy
	tap    *tap
	cuts   int
}

// start starts the link's next proxy. A toxic is never added to a proxy that
// runs, nor taken off: toxiproxy 2.5 waits for ever for a connection that ends
// meanwhile.
func (l *link) start() error {
	api := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.New(io.Discard))
	l.proxy = toxiproxy.NewProxy(api, "link", l.addr, l.tap.addr())
	for _, toxic := range l.toxics {
		if _, err := l.proxy.Toxics.AddToxicJson(strings.NewReader(toxic)); err != nil {
			return fmt.Errorf("%s: %w", toxic, err)
		}
	}
	return l.proxy.Start()
}

func newLinks(servers []*zktest.Server, now func() instant) (*links, error) {
	l := &links{now: now}
	host := loopback()
	for i, s := range servers {
		t, err := newTap(s.Addr())
		if err != nil {
			l.close()
			return nil, err
		}
		one := &link{addr: fmt.Sprint(host, ":", linkPort+i), tap: t}
		l.all = append(l.all, one)
		if err := one.start(); err != nil {
			l.close()
			return nil, err
		}
	}
	return l, nil
}

// loopback returns an address that nobody else uses.
func loopback() string {
	return fmt.Sprintf("127.%d.%d.%d", 1+rand.IntN(254), rand.IntN(256), 1+rand.IntN(254))
}

func (l *links) addrs() string {
	var all []string
	for _, one := range l.all {
		all = append(all, one.addr)
	}
	return strings.Join(all, ",")
}

// endless is the end of a darkness that lasts.
const endless = instant(1<<63 - 1)

// cut breaks the connections of the given links, and refuses new ones until mend.
func (l *links) cut(which ...int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, i := range which {
		if l.all[i].cuts++; l.all[i].cuts == 1 {
			l.all[i].proxy.Stop()
		}
	}
	if l.isDark() && (len(l.dark) == 0 || l.dark[len(l.dark)-1].to != endless) {
		l.dark = append(l.dark, span{l.now(), endless})
	}
}

// mend takes back one cut.
func (l *links) mend(which ...int) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, i := range which {
		if l.isDark() && l.all[i].cuts == 1 {
			l.dark[len(l.dark)-1].to = l.now()
		}
		if l.all[i].cuts--; l.all[i].cuts == 0 {
			if err := l.all[i].start(); err != nil {
				return fmt.Errorf("mending link %d: %w", i, err)
			}
		}
	}
	return nil
}

func (l *links) isDark() bool {
	for _, one := range l.all {
		if one.cuts == 0 {
			return false
		}
	}
	return true
}

// darkness returns the times without any link, and forgets those that are over.
func (l *links) darkness() []span {
	l.mu.Lock()
	defer l.mu.Unlock()
	dark := l.dark
	l.dark = nil
	return dark
}

// poison has all data of the given links pass through a toxic, in both
// directions, on new connections. With no toxic they are sound again.
func (l *links) poison(toxic, attributes string, which ...int) error {
	l.cut(which...)
	l.mu.Lock()
	for _, i := range which {
		l.all[i].toxics = nil
		for _, direction := range []string{"upstream", "downstream"} {
			if toxic != "" {
				l.all[i].toxics = append(l.all[i].toxics,
					fmt.Sprintf(`{"name": %q, "type": %q, "stream": %q, "attributes": {%s}}`, toxic+direction, toxic, direction, attributes))
			}
		}
	}
	l.mu.Unlock()
	return l.mend(which...)
}

// hold keeps back what goes through the given links in some directions, without
// a word, as a network does that is split. release lets it pass.
func (l *links) hold(directions []direction, which ...int) (release func() error) {
	for _, i := range which {
		for _, d := range directions {
			l.all[i].tap.gates[d].Lock()
		}
	}
	return func() error {
		for _, i := range which {
			for _, d := range directions {
				l.all[i].tap.gates[d].Unlock()
			}
		}
		return nil
	}
}

// sessions returns the sessions that are open through each link.
func (l *links) sessions() [][]credentials {
	var all [][]credentials
	for _, one := range l.all {
		all = append(all, one.tap.open())
	}
	return all
}

func (l *links) close() {
	for _, one := range l.all {
		if one.proxy != nil {
			one.proxy.Stop()
		}
		one.tap.close()
	}
}

// credentials are what it takes to end somebody's session.
type credentials struct {
	session  int64
	password []byte
}

// direction is that of the bytes of a connection.
type direction int

const (
	upstream direction = iota
	downstream
)

// tap passes connections on, and reads the sessions' credentials in the servers'
// first words.
type tap struct {
	// gates are locked while nothing passes.
	gates    [2]sync.RWMutex
	listener net.Listener
	upstream string
	running  sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]credentials
}

func newTap(upstream string) (*tap, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	t := &tap{listener: l, upstream: upstream, conns: map[net.Conn]credentials{}}
	t.running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			t.running.Go(func() { t.pass(conn) })
		}
	})
	return t, nil
}

func (t *tap) addr() string { return t.listener.Addr().String() }

func (t *tap) pass(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", t.upstream)
	if err != nil {
		return
	}
	defer server.Close()
	t.set(client, credentials{})
	defer t.forget(client)
	go func() {
		t.relay(server, client, upstream)
		server.Close() // both ends are closed, whichever breaks
		client.Close()
	}()
	// The answer to the first request: length, protocol, timeout, session,
	// password and its length.
	head := make([]byte, 4+4+4+8+4+16)
	if _, err := io.ReadFull(server, head); err != nil {
		return
	}
	t.set(client, credentials{int64(binary.BigEndian.Uint64(head[12:])), head[24:40]})
	if t.send(client, head, downstream) == nil {
		t.relay(client, server, downstream)
	}
}

func (t *tap) relay(to, from net.Conn, d direction) {
	buffer := make([]byte, 16<<10)
	for {
		n, err := from.Read(buffer)
		if err == nil {
			err = t.send(to, buffer[:n], d)
		}
		if err != nil {
			return
		}
	}
}

func (t *tap) send(to net.Conn, b []byte, d direction) error {
	t.gates[d].RLock()
	defer t.gates[d].RUnlock()
	_, err := to.Write(b)
	return err
}

func (t *tap) set(conn net.Conn, c credentials) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.conns[conn] = c
}

func (t *tap) forget(conn net.Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.conns, conn)
}

func (t *tap) open() []credentials {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []credentials
	for _, c := range t.conns {
		if c.session != 0 {
			all = append(all, c)
		}
	}
	return all
}

func (t *tap) close() {
	t.listener.Close()
	t.mu.Lock()
	for conn := range t.conns {
		conn.Close()
	}
	t.mu.Unlock()
	t.running.Wait()
}
