package gozk_test

import (
	"fmt"
	"os"
	"sync"
	"testing"

	zookeeper "github.com/Shopify/gozk"

	"magellan/internal/zk/zktest"
)

// Most tests share a server, because each takes some seconds to start. Tests that stop
// it, or count what it has, start their own.
var oneServer = sync.OnceValues(func() (*zktest.Server, error) { return zktest.New(zktest.Config{}) })

// sharedServer names the server for processes that tests start of this program.
const sharedServer = "GOZK_SHARED_SERVER"

func TestMain(m *testing.M) {
	code := m.Run()
	if os.Getenv(sharedServer) == "" && zktest.Installed() == nil {
		if s, err := oneServer(); err == nil {
			_ = s.Close()
		}
	}
	os.Exit(code)
}

// place is a node of the shared server that is a test's own: its root.
type place struct{ server, root string }

// Addr returns what Dial wants.
func (p place) Addr() string { return p.server + p.root }

// behind returns the same place by a proxy's address.
func (p place) behind(proxy string) string { return proxy + p.root }

// shared returns a place that nobody else uses.
func shared(t testing.TB) place {
	t.Helper()
	server := os.Getenv(sharedServer)
	if server == "" {
		needsServer(t)
		s, err := oneServer()
		must(t, err)
		server = s.Addr()
	}
	conn, session, err := zookeeper.Dial(server, sessionTimeout)
	must(t, err)
	defer conn.Close()
	wantState(t, session, zookeeper.STATE_CONNECTED)
	root, err := conn.Create(fmt.Sprintf("/%d-", os.Getpid()), "", zookeeper.SEQUENCE, everybody)
	must(t, err)
	return place{server, root}
}
