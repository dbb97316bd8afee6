package client

import (
	"encoding/json"
	"errors"
	"net/http"

	"magellan/internal/shops"
)

// ErrNoNode is what the function that reads returns if there is no such znode.
var ErrNoNode = errors.New("no such znode")

// REST answers for shops, each time by what read returns for the shop's znode. The
// regions of datacenters, which a real wrapper would have to read too, it is given.
func REST(layout shops.Layout, regions map[string]string, read func(path string) ([]byte, error)) http.Handler {
	type answer struct {
		Shop       string `json:"shop"`
		Datacenter string `json:"datacenter"`
		Region     string `json:"region"`
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/shops/{shop}", func(w http.ResponseWriter, r *http.Request) {
		a := answer{Shop: r.PathValue("shop")}
		data, err := read(layout.Shop(a.Shop))
		if err != nil {
			status := http.StatusServiceUnavailable
			if errors.Is(err, ErrNoNode) {
				status = http.StatusNotFound
			}
			http.Error(w, err.Error(), status)
			return
		}
		if err := json.Unmarshal(data, &a); err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		a.Region = regions[a.Datacenter]
		body, err := json.Marshal(a)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(body) // an error means that the client is gone
	})
	return mux
}
