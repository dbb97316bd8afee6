// Package httpapi is the public HTTP API of magellan: it turns requests into
// questions to a [shops.Service], its answers into bytes, and its errors
// into problem documents (RFC 9457). What the routes are and what they answer is
// written down in openapi.json, which is served at /openapi.json.
//
// It holds no data of its own but rendered copies of what the Service answers.
// The operators' API is internal/admin's, on another listener.
//
// # Answers and copies
//
// Every answer carries a strong ETag: a hash of the body's bytes. Zxids would be
// cheaper and are not used: a datacenter's count of assigned shops changes with
// every new shop, and with it the datacenter's zxid, but not where its other
// shops live. A hash is the same on every replica and stays when the bytes stay,
// which is what a conditional request, a long poll and a stream's resumption are
// for. An answer of more than 2 KiB is compressed for who takes that, and its ETag is
// then the same hash with a suffix.
//
// # Waiting for changes
//
// A long poll ([poll]) and a stream ([stream]) wait for other bytes, not for
// events: each answer of the Service says what it is made of ([discovery.Depends]), and
// the handler is run again when something of that has changed. Streams that wait for the same share what
// is computed ([questions]). While the server is being stopped they are let go one
// after the other ([drain]).
//
// # Memory
//
// An answer from memory allocates nothing of this package's own. What a request
// needs for as long as it lives is in an [exchange], of which each connection has
// one; see there why that is sound, and why a [sync.Pool] would not be.
//
// A [Server] is made by [New], serves from Serve to Shutdown, and is safe for
// concurrent use.
package httpapi
