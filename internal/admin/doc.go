// Package admin is the operators' HTTP server: metrics, Go's profiles, the routes that
// it is given, and a page that lists them.
//
// It has an Echo instance and a listener of its own, so that it goes on
// answering while the public one (internal/httpapi) is overloaded, and so that
// it can be kept off the public network: unless it listens on a loopback
// address it wants a token with every request. Without one it answers to localhost
// and to IP addresses, not to other names: those may be of a page in an operator's
// browser.
//
// It knows nothing of the cache and nothing of jemalloc: what there is to show of them
// are [Route]s, which cmd/magellan makes.
//
// A [Server] is made by [New], which listens; [Server.Serve] runs until
// [Server.Shutdown]. All methods are safe for concurrent use.
package admin
