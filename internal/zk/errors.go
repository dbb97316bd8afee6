package zk

/*
#include <zookeeper/zookeeper.h>
#include "shim.h"
*/
import "C"

import (
	"fmt"
	"strings"
	"syscall"
)

// Code is the kind of an [Error]: one of the constants below, or another of
// libzookeeper's ZOO_ERRORS. It is itself an error, so that
// errors.Is(err, zk.ErrNoNode) works on everything this package returns.
type Code int32

// What ZooKeeper and libzookeeper answer.
const (
	// ErrNoNode: the znode does not exist.
	ErrNoNode Code = C.ZNONODE
	// ErrNodeExists: the znode to create exists already.
	ErrNodeExists Code = C.ZNODEEXISTS
	// ErrBadVersion: the znode's version is not the one the caller gave.
	ErrBadVersion Code = C.ZBADVERSION
	// ErrNotEmpty: the znode to delete has children.
	ErrNotEmpty Code = C.ZNOTEMPTY
	// ErrNoAuth: the znode's ACL does not permit the request.
	ErrNoAuth Code = C.ZNOAUTH
	// ErrInvalidACL: the server does not accept the ACL.
	ErrInvalidACL Code = C.ZINVALIDACL
	// ErrNoChildrenForEphemerals: an ephemeral znode can have no children.
	ErrNoChildrenForEphemerals Code = C.ZNOCHILDRENFOREPHEMERALS
	// ErrConnectionLoss: the connection broke before the answer came, or there
	// is none. A write may or may not have happened.
	ErrConnectionLoss Code = C.ZCONNECTIONLOSS
	// ErrOperationTimeout: the server was silent for two thirds of the session
	// timeout. A write may or may not have happened.
	ErrOperationTimeout Code = C.ZOPERATIONTIMEOUT
	// ErrSessionExpired: the session is gone and its watches and ephemeral
	// znodes with it; the client is opening another one.
	ErrSessionExpired Code = C.ZSESSIONEXPIRED
	// ErrAuthFailed: the server refuses a credential of the client.
	ErrAuthFailed Code = C.ZAUTHFAILED
	// ErrInvalidState: the session of a client that has only one has ended, see
	// Config.OneSession.
	ErrInvalidState Code = C.ZINVALIDSTATE
	// ErrClosed: the Client was closed.
	ErrClosed Code = C.ZCLOSING
	// ErrMarshalling: libzookeeper could not encode the request.
	ErrMarshalling Code = C.ZMARSHALLINGERROR
	// ErrBadArguments: the request is wrong in itself; nothing was sent.
	ErrBadArguments Code = C.ZBADARGUMENTS
	// ErrNoWatch: there is no such watch to remove; it may have fired already.
	ErrNoWatch Code = C.ZNOWATCHER
	// ErrRolledBack: this part of a Multi was undone because another failed.
	ErrRolledBack Code = C.ZRUNTIMEINCONSISTENCY
	// ErrUnimplemented: the server does not have the request. TTL znodes, for example,
	// must be enabled there.
	ErrUnimplemented Code = C.ZUNIMPLEMENTED
	// ErrTLS: the TLS handshake failed.
	ErrTLS Code = C.ZSSLCONNECTIONERROR
	// ErrSystem: libzookeeper met an error of the operating system.
	ErrSystem Code = C.ZSYSTEMERROR
)

// What this package answers by itself; libzookeeper has no positive codes.
const (
	// ErrTooLarge: the request is longer than Config.MaxRequest. It was not sent,
	// because the server would have cut the connection, and with it all requests in
	// flight.
	ErrTooLarge Code = 1
	// ErrTooManyRequests: 60,000 requests of this client wait for an answer. If there
	// were more, libzookeeper would cut the connection.
	ErrTooManyRequests Code = C.ZK_TOO_MANY
	// ErrNoTLS: this process was linked with a libzookeeper without TLS.
	ErrNoTLS Code = 3
)

// A server answers this to a request after the end of its session
// (KeeperException.Code.UNKNOWNSESSION, "for internal use only"), or on a connection
// that the session has left. See codeOf.
const (
	unknownSession Code = -12
	sessionMoved   Code = C.ZSESSIONMOVED
)

// names doubles as the label of the results in metrics.
var names = map[Code][2]string{
	0:                          {"ok", "ok"},
	ErrNoNode:                  {"no_node", "no such znode"},
	ErrNodeExists:              {"node_exists", "the znode exists already"},
	ErrBadVersion:              {"bad_version", "the znode has another version"},
	ErrNotEmpty:                {"not_empty", "the znode has children"},
	ErrNoAuth:                  {"no_auth", "not permitted by the znode's ACL"},
	ErrInvalidACL:              {"invalid_acl", "invalid ACL"},
	ErrNoChildrenForEphemerals: {"no_children_for_ephemerals", "ephemeral znodes have no children"},
	ErrConnectionLoss:          {"connection_loss", "no connection to ZooKeeper"},
	ErrOperationTimeout:        {"operation_timeout", "ZooKeeper did not answer in time"},
	ErrSessionExpired:          {"session_expired", "the ZooKeeper session has expired"},
	ErrAuthFailed:              {"auth_failed", "ZooKeeper refuses the credentials"},
	ErrInvalidState:            {"invalid_state", "the ZooKeeper handle takes no requests"},
	ErrClosed:                  {"closed", "the client is closed"},
	ErrMarshalling:             {"marshalling", "the request cannot be encoded"},
	ErrBadArguments:            {"bad_arguments", "bad arguments"},
	ErrNoWatch:                 {"no_watch", "no such watch"},
	ErrRolledBack:              {"rolled_back", "rolled back with the rest of the transaction"},
	ErrUnimplemented:           {"unimplemented", "not supported by this ZooKeeper"},
	ErrTLS:                     {"tls", "TLS handshake failed"},
	ErrSystem:                  {"system", "system error"},
	ErrTooLarge:                {"too_large", "request too large"},
	ErrTooManyRequests:         {"too_many_requests", "too many requests in flight"},
	ErrNoTLS:                   {"no_tls", "libzookeeper was built without TLS"},
}

// Error returns a short description.
func (c Code) Error() string {
	if n, ok := names[c]; ok {
		return n[1]
	}
	return fmt.Sprintf("%s (code %d)", Zerror(c), int32(c))
}

// Zerror returns libzookeeper's own words for a code.
func Zerror(c Code) string { return C.GoString(C.zerror(C.int(c))) } // a static string

// Name returns one word, as the result label of metrics has it: "ok" for 0, and "other"
// for a code that this package has no constant for.
func (c Code) Name() string {
	if n, ok := names[c]; ok {
		return n[0]
	}
	return "other"
}

// Error is what every failed request returns, except one whose context ended
// first.
type Error struct {
	Op   string // "get", "create", …
	Path string // empty for requests without one
	Code Code
	// Detail is a sentence for people, often empty.
	Detail string
	// Errno is the error of the operating system behind ErrSystem, where there is one.
	Errno syscall.Errno
}

// Error returns operation, path, description and detail.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("zookeeper: ")
	b.WriteString(e.Op)
	if e.Path != "" {
		fmt.Fprintf(&b, " %q", e.Path)
	}
	b.WriteString(": ")
	b.WriteString(e.Code.Error())
	if e.Detail != "" {
		b.WriteString(": ")
		b.WriteString(e.Detail)
	}
	return b.String()
}

// Unwrap returns the Code.
func (e *Error) Unwrap() error { return e.Code }
