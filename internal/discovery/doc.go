// Package discovery has the words that every domain of magellan shares: how well an
// answer is known and how fresh it must be ([Meta], [ReadOptions], [Bound]), what is
// doubted of the records that it is made of ([Doubts]), the kinds of error that it may
// end in, and who is told that something has changed ([Topic], [Feed]).
//
// It knows no domain, no ZooKeeper, no cache and no HTTP, and imports nothing of ours.
// A domain, such as internal/shops, answers questions in these words; internal/cache
// fills them in, and internal/httpapi renders them.
package discovery
