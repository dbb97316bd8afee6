// Package discovery has the words that every domain of magellan shares: how well an
// answer is known and how fresh it must be ([Meta], [ReadOptions], [Bound]), what is
// doubted of the records that it is made of ([Doubts]), the kinds of error that it may
// end in, and who is told that something has changed ([Topic], [Feed]).
//
// It knows no domain, no ZooKeeper, no cache and no HTTP, and imports nothing of ours.
// A domain describes in these words what it reads ([Keyed], [View]), and answers questions in
// them; internal/cache mirrors what is described, and internal/httpapi renders the answers.
package discovery
