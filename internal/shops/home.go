package shops

import (
	"runtime"
	"sync"
	"weak"
)

// Home is what the cache keeps in memory of a shop: where the shop lives. Millions of shops
// live in a few datacenters, and the shops of one datacenter share one Home. A Home is never
// changed.
type Home struct {
	// Datacenter is the datacenter's name.
	Datacenter string
}

// String describes the home for operators.
func (h *Home) String() string { return "datacenter " + h.Datacenter }

// homes finds the one Home of each datacenter, as long as the cache holds a shop that lives
// there. The zero value is ready. It is safe for concurrent use.
type homes struct {
	mu    sync.RWMutex
	known map[string]weak.Pointer[Home]
}

// of returns the Home of a datacenter. It does not keep the bytes of the name. If the Home
// exists, of allocates nothing.
func (h *homes) of(datacenter []byte) *Home {
	h.mu.RLock()
	home := h.known[string(datacenter)].Value()
	h.mu.RUnlock()
	if home != nil {
		return home
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if home = h.known[string(datacenter)].Value(); home != nil {
		return home
	}
	home = &Home{Datacenter: string(datacenter)}
	if h.known == nil {
		h.known = map[string]weak.Pointer[Home]{}
	}
	h.known[home.Datacenter] = weak.Make(home)
	runtime.AddCleanup(home, h.forget, home.Datacenter)
	return home
}

// decode is [DecodeShop] for a shop that the cache keeps. It allocates nothing if other shops
// live in the same datacenter.
func (h *homes) decode(name string, data []byte) (home *Home, err error) {
	_, err = decodeShop(name, data, func(datacenter []byte) string {
		home = h.of(datacenter)
		return home.Datacenter
	})
	if err != nil {
		return nil, err
	}
	return home, nil
}

// forget is called after the Home of a datacenter has been garbage collected. Another Home
// of the datacenter may have been made since; forget leaves that one.
func (h *homes) forget(datacenter string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.known[datacenter].Value() == nil {
		delete(h.known, datacenter)
	}
}
