package zk_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"magellan/internal/zk"
	"magellan/internal/zk/zktest"
)

// A client of one session opens no other one: not when the session expires, and not
// when the server refuses a credential.
func TestOneSession(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	s := zktest.Start(t)
	for name, end := range map[string]func(t *testing.T, c *zk.Client){
		"expired": func(t *testing.T, c *zk.Client) { expire(t, s, c) },
		"auth failed": func(t *testing.T, c *zk.Client) {
			if err := c.AddAuth(ctx, zk.Credential{Scheme: "nobody has this"}); !errors.Is(err, zk.ErrAuthFailed) {
				t.Errorf("the credential: %v", err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var rec recorder
			c := open(t, rec.into(zk.Config{OneSession: true, SessionTimeout: expirable}), s)
			end(t, c)
			want := name + " 1"
			eventually(t, want, func() bool { return strings.HasSuffix(rec.states(), want) })
			for range 3 {
				if _, _, err := c.Get(ctx, "/"); !errors.Is(err, zk.ErrInvalidState) {
					t.Errorf("a request afterwards: %v", err)
				}
			}
			if err := c.AddAuth(ctx, zk.Credential{Scheme: "digest", Data: "a:b"}); !errors.Is(err, zk.ErrInvalidState) {
				t.Errorf("a credential afterwards: %v", err)
			}
			if err := c.WaitReady(ctx); !errors.Is(err, zk.ErrSessionExpired) && !errors.Is(err, zk.ErrAuthFailed) {
				t.Errorf("WaitReady afterwards: %v", err)
			}
			if at := c.ConnectedServer(); at != "" {
				t.Errorf("it is connected to %s", at)
			}
			if n := rec.sum(zk.HandlesOpened); n != 1 || !strings.HasSuffix(rec.states(), want) {
				t.Errorf("%d handles, %s", n, rec.states())
			}
		})
	}
}

// Open of a client of one session says what is wrong with the servers, and leaves
// nothing behind.
func TestOneSessionOfNobody(t *testing.T) {
	_, err := zk.Open(zk.Config{OneSession: true, Servers: []string{"no-such-host.invalid"}})
	var e *zk.Error
	if !errors.As(err, &e) || e.Code != zk.ErrSystem || e.Errno == 0 || !strings.Contains(err.Error(), "no-such-host.invalid") {
		t.Errorf("%v", err)
	}
	nothingLeft(t)
}

// A client takes over the session of another one, with its ephemeral znodes, and keeps
// it for longer than the other is there. The other is cut off: each would take the
// session back from the other for ever.
func TestResume(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	s := zktest.Start(t)
	p := through(t, s)
	c := open(t, zk.Config{Servers: []string{p.Listen}, OneSession: true})
	if _, _, err := c.Create(ctx, "/mine", nil, zk.CreateOptions{Mode: zk.Ephemeral}); err != nil {
		t.Fatal(err)
	}
	p.Stop()
	eventually(t, "cut off", func() bool { return c.State() == zk.Disconnected })
	id, password := c.SessionCredentials()
	session := zk.Session{ID: id, Password: [16]byte(password)}
	second, err := zk.Open(zk.Config{Servers: []string{s.Addr()}, OneSession: true, SessionTimeout: time.Minute, Resume: &session})
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if got := second.SessionID(); got != id {
		t.Errorf("before it is connected its session is %#x, not %#x", got, id)
	}
	if err := second.WaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	if st, err := second.Exists(ctx, "/mine"); err != nil || st.EphemeralOwner != id || second.SessionID() != id {
		t.Errorf("%+v, %v, %#x", st, err, second.SessionID())
	}
	if err := second.Close(); err != nil { // ends the session of both
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	if err := c.WaitReady(ctx); err == nil { // Close does not wait for a machine that stands still
		expire(t, s, c)
	}
	eventually(t, "expired", func() bool { return c.State() == zk.Expired })

	// No server knows it any more.
	third, err := zk.Open(zk.Config{Servers: []string{s.Addr()}, OneSession: true, SessionTimeout: time.Minute, Resume: &session})
	if err != nil {
		t.Fatal(err)
	}
	defer third.Close()
	if err := third.WaitReady(ctx); !errors.Is(err, zk.ErrSessionExpired) {
		t.Errorf("a session that has ended: %v", err)
	}
	// Without OneSession another one follows.
	fourth := open(t, zk.Config{Resume: &session}, s)
	if got := fourth.SessionID(); got == id {
		t.Error("a session that has ended is resumed")
	}
	if _, err := zk.Open(zk.Config{Servers: []string{s.Addr()}, Resume: &zk.Session{}}); !errors.Is(err, zk.ErrBadArguments) {
		t.Errorf("a session without an id: %v", err)
	}
}

// With ZeroTimeout no request is answered in time.
func TestZeroTimeout(t *testing.T) {
	t.Parallel()
	s := zktest.Start(t)
	c, err := zk.Open(zk.Config{Servers: []string{s.Addr()}, OneSession: true, SessionTimeout: zk.ZeroTimeout, Heartbeat: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		_, _, err := c.Get(ctx, "/")
		if errors.Is(err, zk.ErrOperationTimeout) {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("the last request: %v", err)
		}
		time.Sleep(time.Millisecond)
	}
}
