// Package httpapi is the public HTTP API of magellan. It turns requests into
// questions to a [shops.Service] and a [services.Registry], their answers into bytes, and
// their errors into problem documents (RFC 9457). openapi.json says which routes there are and what they
// answer; it is served at /openapi.json.
//
// The package holds no data of its own but rendered copies of what these two answer.
// The operators' API is internal/admin's, on another listener.
//
// # Questions, answers and sinks
//
// A [question] and its [answer] are values. A handler, such as getShop, computes the
// answer to a question and renders it, and writes nothing. The asker makes the question
// and has the answer written by its sink; the handler does not know who asks:
//
//   - An [exchange] asks for an HTTP request. Its sink (writeAnswer) writes the answer
//     with its ETag, compressed if the client takes that, or 304.
//   - A long poll ([poll]) asks the exchange's question again, until the answer has
//     another hash, and has it written then.
//   - A [stream] asks for each of its keys, and writes each answer as an event.
//
// To a handler an error is an error. Server.explain makes the problem document of it,
// which is an answer like any other.
//
// # Answers and copies
//
// Every answer carries a strong ETag: a hash of the body's bytes. Zxids would be
// cheaper and are not used: a datacenter's count of assigned shops changes with
// every new shop, and with it the datacenter's zxid, but not where its other
// shops live. A hash is the same on every replica and stays when the bytes stay,
// which is what a conditional request, a long poll and a stream's resumption are
// for. An answer of more than 2 KiB is compressed if the client takes that, and its ETag
// is then the same hash with a suffix.
//
// # Waiting for changes
//
// Long polls and streams wait for other bytes, not for events: each answer of the
// Service says what it is made of ([discovery.Depends]), and the question is asked again
// when something of that has changed. Streams that wait for the same answer share it
// ([sharedQuestions]). While the server is being stopped, the waiting clients are let go
// one group after the other ([drain]).
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
