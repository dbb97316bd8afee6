package main

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"magellan/internal/zk"
	"magellan/internal/zk/zktest"
)

// TestReadyOnceAllIsRead: a list that could never be read keeps the server from being
// ready, /readyz says which, and what has nothing to do with it is answered; until an
// operator goes on without it.
func TestReadyOnceAllIsRead(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	zookeeper := zktest.Start(t)
	client, err := zk.Open(zk.Config{Servers: []string{zookeeper.Addr()}})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.WaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	const list = "/magellan/bad-citizens/bad"
	for _, path := range []string{"/magellan", "/magellan/regions", "/magellan/datacenters", "/magellan/bad-citizens", "/magellan/shops", list} {
		data := ""
		if path == list {
			data = "203.0.113.0/33\n"
		}
		if _, _, err := client.Create(ctx, path, []byte(data), zk.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	parser := newParser(io.Discard, io.Discard)
	parsed, err := parser.Parse([]string{"serve", "--servers=" + zookeeper.Addr(), "--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	c := parsed.Selected().Target.Addr().Interface().(*serveCommand)
	s, err := c.newServer(ctx, slog.New(slog.DiscardHandler), io.Discard, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	s.serve()
	if err := s.waitReady(ctx); err != nil {
		t.Fatal(err)
	}
	whole := make(chan bool, 1)
	go func() {
		ok, _ := s.waitWhole(ctx)
		whole <- ok
	}()
	ask := func(method, url string) (int, string) {
		req, err := http.NewRequestWithContext(ctx, method, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Close = true
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(body)
	}
	api, admin := "http://"+s.listener.Addr().String(), "http://"+s.admin.Addr().String()
	if status, body := ask("GET", api+"/readyz"); status != 503 || !strings.Contains(body, list) {
		t.Errorf("/readyz: %d %s", status, body)
	}
	if status, body := ask("GET", api+"/v1/bad-citizens/192.0.2.1"); status != 503 || !strings.Contains(body, "unread-record") {
		t.Errorf("an address: %d %s", status, body)
	}
	for path, want := range map[string]int{"/v1/datacenters": 200, "/v1/shops/42": 404, "/healthz": 200} {
		if status, body := ask("GET", api+path); status != want {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	if _, body := ask("GET", admin+"/metrics"); !strings.Contains(body, `magellan_cache_members_never_read{set="/magellan/bad-citizens"} 1`) {
		t.Error("the metric does not say so")
	}
	if len(whole) > 0 {
		t.Error("said to be ready")
	}
	if status, body := ask("POST", admin+"/admin/accept"+list); status != 200 {
		t.Errorf("accepting: %d %s", status, body)
	}
	if !<-whole {
		t.Error("not ready for all that")
	}
	if status, body := ask("GET", api+"/readyz"); status != 200 {
		t.Errorf("/readyz: %d %s", status, body)
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		status, body := ask("GET", api+"/v1/bad-citizens/192.0.2.1")
		if status == 200 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("an address: %d %s", status, body)
		}
	}
}
