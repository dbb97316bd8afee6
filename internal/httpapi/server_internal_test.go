package httpapi

import (
	"testing"

	"magellan/internal/shops"
	"magellan/internal/shops/shopstest"
)

// serverOf returns a Server that answers about what reader holds.
func serverOf(t testing.TB, reader *shopstest.Reader) *Server {
	t.Helper()
	service, err := shops.New(shops.Config{Reader: reader})
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(Config{Service: service})
	if err != nil {
		t.Fatal(err)
	}
	return s
}
