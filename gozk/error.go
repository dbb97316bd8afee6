package zookeeper

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/Shopify/gozk/internal/zk"
)

// ErrorCode is the kind of an [Error]: one of the constants below, or another code of
// libzookeeper. The values are those of ZOO_ERRORS in its zookeeper.h.
type ErrorCode int

// What ZooKeeper and libzookeeper answer.
const (
	// ZOK is success. No Error has it.
	ZOK ErrorCode = 0
	// ZSYSTEMERROR is an error of the operating system, see Error.SystemError.
	ZSYSTEMERROR ErrorCode = -1
	// ZRUNTIMEINCONSISTENCY is not returned by this package.
	ZRUNTIMEINCONSISTENCY ErrorCode = -2
	// ZDATAINCONSISTENCY is not returned by this package.
	ZDATAINCONSISTENCY ErrorCode = -3
	// ZCONNECTIONLOSS means that there is no connection, or that it broke before the
	// answer came. A write may or may not have happened.
	ZCONNECTIONLOSS ErrorCode = -4
	// ZMARSHALLINGERROR means that the request could not be encoded.
	ZMARSHALLINGERROR ErrorCode = -5
	// ZUNIMPLEMENTED means that the server does not have the request.
	ZUNIMPLEMENTED ErrorCode = -6
	// ZOPERATIONTIMEOUT means that the server was silent for two thirds of the session's
	// timeout. A write may or may not have happened.
	ZOPERATIONTIMEOUT ErrorCode = -7
	// ZBADARGUMENTS means that the request is wrong in itself.
	ZBADARGUMENTS ErrorCode = -8
	// ZINVALIDSTATE means that the session has ended before: it has expired, or the
	// server has refused a credential. Only Close is left.
	ZINVALIDSTATE ErrorCode = -9
	// ZAPIERROR is not returned by this package. Servers' codes below it are their own.
	ZAPIERROR ErrorCode = -100
	// ZNONODE means that the node does not exist.
	ZNONODE ErrorCode = -101
	// ZNOAUTH means that the node's ACL does not permit the request.
	ZNOAUTH ErrorCode = -102
	// ZBADVERSION means that the node has another version than was given.
	ZBADVERSION ErrorCode = -103
	// ZNOCHILDRENFOREPHEMERALS means that the parent is ephemeral.
	ZNOCHILDRENFOREPHEMERALS ErrorCode = -108
	// ZNODEEXISTS means that the node to create exists.
	ZNODEEXISTS ErrorCode = -110
	// ZNOTEMPTY means that the node to delete has children.
	ZNOTEMPTY ErrorCode = -111
	// ZSESSIONEXPIRED means that the session expired while the request was under way.
	ZSESSIONEXPIRED ErrorCode = -112
	// ZINVALIDCALLBACK is not returned by this package.
	ZINVALIDCALLBACK ErrorCode = -113
	// ZINVALIDACL means that the server does not accept the ACL: it is empty, say, or its
	// scheme is unknown.
	ZINVALIDACL ErrorCode = -114
	// ZAUTHFAILED means that the server refuses a credential, and with it the session.
	ZAUTHFAILED ErrorCode = -115
	// ZCLOSING means that the Conn was closed.
	ZCLOSING ErrorCode = -116
	// ZNOTHING is not returned by this package.
	ZNOTHING ErrorCode = -117
	// ZSESSIONMOVED is not returned by this package.
	ZSESSIONMOVED ErrorCode = -118
)

// String returns libzookeeper's words for the code, such as "no node".
func (code ErrorCode) String() string { return zk.Zerror(zk.Code(code)) }

// Error is what every request returns that failed.
type Error struct {
	// Op is the function in lower case, such as "get" or "childrenw".
	Op string
	// Code is the kind of the error.
	Code ErrorCode
	// SystemError is the error of the operating system behind ZSYSTEMERROR.
	SystemError error
	// Path is the node, empty for requests without one.
	Path string
}

// Error returns operation, path and description.
func (e *Error) Error() string {
	what := e.Code.String()
	if e.Code == ZSYSTEMERROR && e.SystemError != nil {
		what = e.SystemError.Error()
	}
	if e.Path == "" {
		return fmt.Sprintf("zookeeper: %s: %s", e.Op, what)
	}
	return fmt.Sprintf("zookeeper: %s %q: %s", e.Op, e.Path, what)
}

// Unwrap returns SystemError.
func (e *Error) Unwrap() error { return e.SystemError }

// IsError returns whether err is an [*Error], or wraps one, with the code.
func IsError(err error, code ErrorCode) bool {
	var e *Error
	return errors.As(err, &e) && e.Code == code
}

// errTooManyRequests is the system error of a Conn with too many requests in flight.
var errTooManyRequests = errors.New("too many requests wait for an answer")

// errorOf translates an error of the client. It returns nil for nil.
func errorOf(op, path string, err error) error {
	if err == nil {
		return nil
	}
	e := &Error{Op: op, Path: path, Code: ZSYSTEMERROR, SystemError: err}
	var of *zk.Error
	if !errors.As(err, &of) {
		return e
	}
	switch of.Code {
	case zk.ErrTooManyRequests:
		e.SystemError = errTooManyRequests
	case zk.ErrTooLarge:
		e.Code, e.SystemError = ZBADARGUMENTS, nil
	case zk.ErrSystem:
		e.SystemError = syscall.EINVAL
		if of.Errno != 0 {
			e.SystemError = of.Errno
		}
	default:
		e.Code, e.SystemError = ErrorCode(of.Code), nil
	}
	return e
}
