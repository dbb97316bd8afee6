package zktest

import (
	"errors"
	"os"
	"testing"
)

// Option changes the Config of a test's server.
type Option func(*Config)

// WithLines adds lines to zoo.cfg.
func WithLines(lines ...string) Option {
	return func(c *Config) { c.Lines = append(c.Lines, lines...) }
}

// WithJava adds flags of the JVM: a heap, system properties, the C2 compiler
// (-XX:TieredStopAtLevel=4) for benchmarks.
func WithJava(flags ...string) Option {
	return func(c *Config) { c.Java = append(c.Java, flags...) }
}

// WithTLS has the server also serve TLS.
func WithTLS(t ServerTLS) Option { return func(c *Config) { c.TLS = &t } }

func configOf(opts []Option) Config {
	var c Config
	for _, o := range opts {
		o(&c)
	}
	return c
}

// Start starts a server for the test, and ends it with the test. Without
// ZooKeeper on the machine the test is skipped, or fails if CI=true.
func Start(t testing.TB, opts ...Option) *Server {
	t.Helper()
	s, err := New(configOf(opts))
	check(t, err)
	t.Cleanup(func() { finish(t, s) })
	return s
}

// StartEnsemble starts n servers for the test, see Start.
func StartEnsemble(t testing.TB, n int, opts ...Option) *Ensemble {
	t.Helper()
	e, err := NewEnsemble(n, configOf(opts))
	check(t, err)
	for _, s := range e.Servers {
		t.Cleanup(func() { finish(t, s) })
	}
	return e
}

func check(t testing.TB, err error) {
	t.Helper()
	switch {
	case err == nil:
	case errors.Is(err, ErrNotInstalled) && os.Getenv("CI") != "true":
		t.Skip(err)
	default:
		t.Fatal(err)
	}
}

func finish(t testing.TB, s *Server) {
	if t.Failed() {
		t.Logf("the end of the log of the server on %s:\n%s", s.Addr(), s.Log())
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
