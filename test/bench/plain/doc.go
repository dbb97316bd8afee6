// Command plain is two services of a module of its own that knows nothing of magellan: one
// that answers from SQLite, and one that mallocs and frees. The bench runs them as they are
// and under magellan heap run.
//
//	plain sqlite | malloc     serves on the listening socket that is file descriptor 3
package main
