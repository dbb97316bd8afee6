package gozk_test

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"syscall"
	"testing"
	"time"

	zookeeper "github.com/Shopify/gozk"
)

// The exported functions have the types that programs were written for. That they
// compile is the test.
var (
	_ func(string, time.Duration) (*zookeeper.Conn, <-chan zookeeper.Event, error)                      = zookeeper.Dial
	_ func(string, time.Duration, *zookeeper.ClientId) (*zookeeper.Conn, <-chan zookeeper.Event, error) = zookeeper.Redial
	_ func([]byte) (*zookeeper.ClientId, error)                                                         = zookeeper.LoadClientId
	_ func(int)                                                                                         = zookeeper.SetLogLevel
	_ func(uint32) []zookeeper.ACL                                                                      = zookeeper.AuthACL
	_ func(uint32) []zookeeper.ACL                                                                      = zookeeper.WorldACL
	_ func(error, zookeeper.ErrorCode) bool                                                             = zookeeper.IsError
	_ func() int                                                                                        = zookeeper.CountPendingWatches
	_ func(int, string, string) (*zookeeper.Server, error)                                              = zookeeper.CreateServer
	_ func(string) (*zookeeper.Server, error)                                                           = zookeeper.AttachServer
	_ zookeeper.ChangeFunc                                                                              = func(string, *zookeeper.Stat) (string, error) { return "", nil }
	_ error                                                                                             = zookeeper.ErrNotRunning
	_ error                                                                                             = (*zookeeper.Error)(nil)
)

// And the methods.
var (
	_ interface {
		ACL(path string) ([]zookeeper.ACL, *zookeeper.Stat, error)
		AddAuth(scheme, cert string) error
		Children(path string) ([]string, *zookeeper.Stat, error)
		ChildrenW(path string) ([]string, *zookeeper.Stat, <-chan zookeeper.Event, error)
		ClientId() *zookeeper.ClientId
		Close() error
		ConnectedServer() string
		Create(path, value string, flags int, aclv []zookeeper.ACL) (string, error)
		CurrentServer() (string, error)
		Delete(path string, version int) error
		Exists(path string) (*zookeeper.Stat, error)
		ExistsW(path string) (*zookeeper.Stat, <-chan zookeeper.Event, error)
		Get(path string) (string, *zookeeper.Stat, error)
		GetW(path string) (string, *zookeeper.Stat, <-chan zookeeper.Event, error)
		RetryChange(path string, flags int, acl []zookeeper.ACL, changeFunc zookeeper.ChangeFunc) error
		Set(path, value string, version int) (*zookeeper.Stat, error)
		SetACL(path string, aclv []zookeeper.ACL, version int) error
		SetServers(servers string)
		SetServersResolutionDelay(delay time.Duration)
	} = (*zookeeper.Conn)(nil)
	_ interface {
		Czxid() int64
		Mzxid() int64
		Pzxid() int64
		CTime() time.Time
		MTime() time.Time
		Version() int
		CVersion() int
		AVersion() int
		EphemeralOwner() int64
		DataLength() int
		NumChildren() int
	} = (*zookeeper.Stat)(nil)
	_ interface {
		Addr() (string, error)
		Destroy() error
		Process() (*os.Process, error)
		Start() error
		Stop() error
	} = (*zookeeper.Server)(nil)
	_ interface{ Save() ([]byte, error) } = (*zookeeper.ClientId)(nil)
	_ interface {
		Ok() bool
		String() string
	} = zookeeper.Event{}
)

// The constants have the values of zookeeper.h, which programs may have stored.
func TestConstants(t *testing.T) {
	for name, c := range map[string][2]int{
		"LOG":   {zookeeper.LOG_ERROR*1000 + zookeeper.LOG_WARN*100 + zookeeper.LOG_INFO*10 + zookeeper.LOG_DEBUG, 1234},
		"flags": {zookeeper.EPHEMERAL*10 + zookeeper.SEQUENCE, 12},
		"PERM": {zookeeper.PERM_READ | zookeeper.PERM_WRITE<<8 | zookeeper.PERM_CREATE<<16 | zookeeper.PERM_DELETE<<24 | zookeeper.PERM_ADMIN<<32,
			0x1008040201},
		"PERM_ALL":      {zookeeper.PERM_ALL, 31},
		"EVENT":         {zookeeper.EVENT_CLOSED*10000 + zookeeper.EVENT_CREATED*1000 + zookeeper.EVENT_DELETED*100 + zookeeper.EVENT_CHANGED*10 + zookeeper.EVENT_CHILD, 1234},
		"EVENT_SESSION": {zookeeper.EVENT_SESSION, -1}, "EVENT_NOTWATCHING": {zookeeper.EVENT_NOTWATCHING, -2},
		"STATE":                 {zookeeper.STATE_CLOSED*1000 + zookeeper.STATE_CONNECTING*100 + zookeeper.STATE_ASSOCIATING*10 + zookeeper.STATE_CONNECTED, 123},
		"STATE_EXPIRED_SESSION": {zookeeper.STATE_EXPIRED_SESSION, -112}, "STATE_AUTH_FAILED": {zookeeper.STATE_AUTH_FAILED, -113},
	} {
		if c[0] != c[1] {
			t.Errorf("%s: %d, not %d", name, c[0], c[1])
		}
	}
	codes := []zookeeper.ErrorCode{zookeeper.ZOK, zookeeper.ZSYSTEMERROR, zookeeper.ZRUNTIMEINCONSISTENCY, zookeeper.ZDATAINCONSISTENCY,
		zookeeper.ZCONNECTIONLOSS, zookeeper.ZMARSHALLINGERROR, zookeeper.ZUNIMPLEMENTED, zookeeper.ZOPERATIONTIMEOUT, zookeeper.ZBADARGUMENTS,
		zookeeper.ZINVALIDSTATE, zookeeper.ZAPIERROR, zookeeper.ZNONODE, zookeeper.ZNOAUTH, zookeeper.ZBADVERSION,
		zookeeper.ZNOCHILDRENFOREPHEMERALS, zookeeper.ZNODEEXISTS, zookeeper.ZNOTEMPTY, zookeeper.ZSESSIONEXPIRED, zookeeper.ZINVALIDCALLBACK,
		zookeeper.ZINVALIDACL, zookeeper.ZAUTHFAILED, zookeeper.ZCLOSING, zookeeper.ZNOTHING, zookeeper.ZSESSIONMOVED}
	want := []string{"0 ok", "-1 system error", "-2 run time inconsistency", "-3 data inconsistency", "-4 connection loss", "-5 marshalling error",
		"-6 unimplemented", "-7 operation timeout", "-8 bad arguments", "-9 invalid zhandle state", "-100 api error", "-101 no node",
		"-102 not authenticated", "-103 bad version", "-108 no children for ephemerals", "-110 node exists", "-111 not empty", "-112 session expired",
		"-113 invalid callback", "-114 invalid acl", "-115 authentication failed", "-116 zookeeper is closing",
		"-117 (not error) no server responses to process", "-118 session moved to another server, so operation is ignored"}
	for i, code := range codes {
		if got := fmt.Sprintf("%d %v", int(code), code); got != want[i] {
			t.Errorf("%s, not %s", got, want[i])
		}
	}
}

func TestEvent(t *testing.T) {
	for e, want := range map[zookeeper.Event]string{
		{}: "ZooKeeper connection closed",
		{Type: zookeeper.EVENT_SESSION, State: zookeeper.STATE_CONNECTED}:                  "ZooKeeper connected",
		{Type: zookeeper.EVENT_SESSION, State: zookeeper.STATE_CONNECTING}:                 "ZooKeeper connecting",
		{Type: zookeeper.EVENT_SESSION, State: zookeeper.STATE_ASSOCIATING}:                "ZooKeeper still associating",
		{Type: zookeeper.EVENT_SESSION, State: zookeeper.STATE_EXPIRED_SESSION}:            "ZooKeeper session expired",
		{Type: zookeeper.EVENT_SESSION, State: zookeeper.STATE_AUTH_FAILED}:                "ZooKeeper authentication failed",
		{Type: zookeeper.EVENT_CREATED, Path: "/p", State: zookeeper.STATE_CONNECTED}:      "ZooKeeper connected; path created: /p",
		{Type: zookeeper.EVENT_DELETED, Path: "/p", State: zookeeper.STATE_CONNECTED}:      "ZooKeeper connected; path deleted: /p",
		{Type: zookeeper.EVENT_CHANGED, Path: "/p", State: zookeeper.STATE_CONNECTED}:      "ZooKeeper connected; path changed: /p",
		{Type: zookeeper.EVENT_CHILD, Path: "/p", State: zookeeper.STATE_CONNECTED}:        "ZooKeeper connected; path children changed: /p",
		{Type: zookeeper.EVENT_NOTWATCHING, Path: "/p", State: zookeeper.STATE_CONNECTED}:  "ZooKeeper connected; not watching: /p",
		{Type: zookeeper.EVENT_CLOSED, Path: "/p", State: zookeeper.STATE_EXPIRED_SESSION}: "ZooKeeper session expired; /p",
		{Type: 99, Path: "/p", State: 99}:                                                  "unknown ZooKeeper state 99; /p",
	} {
		if got := e.String(); got != want {
			t.Errorf("%+v is %q, not %q", e, got, want)
		}
		if e.Ok() != (e.State == zookeeper.STATE_CONNECTED) {
			t.Errorf("%v: Ok is %v", e, e.Ok())
		}
	}
}

func TestError(t *testing.T) {
	for want, e := range map[string]zookeeper.Error{
		`zookeeper: foo "/blah": no node`:      {Op: "foo", Code: zookeeper.ZNONODE, Path: "/blah"},
		`zookeeper: foo: no node`:              {Op: "foo", Code: zookeeper.ZNONODE, SystemError: syscall.EINVAL},
		`zookeeper: foo "/blah": system error`: {Op: "foo", Code: zookeeper.ZSYSTEMERROR, Path: "/blah"},
		`zookeeper: foo: invalid argument`:     {Op: "foo", Code: zookeeper.ZSYSTEMERROR, SystemError: syscall.EINVAL},
	} {
		if got := e.Error(); got != want {
			t.Errorf("%q, not %q", got, want)
		}
		if !zookeeper.IsError(&e, e.Code) || zookeeper.IsError(&e, e.Code-1) || !zookeeper.IsError(fmt.Errorf("so: %w", &e), e.Code) {
			t.Errorf("IsError does not know %v", &e)
		}
		if e.SystemError != nil && !errors.Is(&e, syscall.EINVAL) {
			t.Errorf("%v does not wrap its system error", &e)
		}
	}
	if zookeeper.IsError(nil, zookeeper.ZOK) || zookeeper.IsError(errors.New("x"), zookeeper.ZSYSTEMERROR) {
		t.Error("IsError takes anything for an Error")
	}
}

func TestACLs(t *testing.T) {
	if got, want := zookeeper.AuthACL(3), []zookeeper.ACL{{Perms: 3, Scheme: "auth", Id: ""}}; !reflect.DeepEqual(got, want) {
		t.Errorf("%+v", got)
	}
	if got, want := zookeeper.WorldACL(31), []zookeeper.ACL{{Perms: 31, Scheme: "world", Id: "anyone"}}; !reflect.DeepEqual(got, want) {
		t.Errorf("%+v", got)
	}
}

// The bytes of a saved session are as they always were: the id, the highest byte first,
// and the password.
func TestLoadClientId(t *testing.T) {
	saved := []byte("\x01\x02\x03\x04\x05\x06\x07\x08passwordpassword")
	id, err := zookeeper.LoadClientId(saved)
	must(t, err)
	if b, err := id.Save(); err != nil || string(b) != string(saved) {
		t.Errorf("%q, %v", b, err)
	}
	for _, bad := range []string{"", "x", string(saved[:23]), string(saved) + "x"} {
		if id, err := zookeeper.LoadClientId([]byte(bad)); err == nil || id != nil {
			t.Errorf("%d bytes: %v, %v", len(bad), id, err)
		}
	}
}
