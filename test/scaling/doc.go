// Command scaling says how far an installation goes: proxies that watch shops on
// an ensemble with observers, while shops change. It simulates each server as a
// queue, with costs that were measured or are named as assumptions, and says what
// gives way first.
//
//	go -C test run ./scaling           the table of docs/scaling.md
//	go -C test run ./scaling --help    other installations, other costs
//
// It knows no network but a round trip, and no proxy but what it asks of the
// servers: it finds where servers break, not where a machine of yours does.
package main
