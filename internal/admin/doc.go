// Package admin is the operators' HTTP server: metrics, Go's profiles, the routes that
// it is given, and a page that lists them.
//
// The server has its own Echo instance and its own listener. So it still answers while
// the public server (internal/httpapi) is overloaded, and it can be kept off the public
// network. Unless it listens on a loopback address, every request must have a token.
// A server without a token answers only requests to localhost and to IP addresses. Any
// other host name may belong to a page in an operator's browser (DNS rebinding).
//
// The package imports neither the cache nor jemalloc. cmd/magellan passes the routes
// that show them, as [Route]s.
//
// A [Server] is made by [New], which listens; [Server.Serve] runs until
// [Server.Shutdown]. All methods are safe for concurrent use.
package admin
