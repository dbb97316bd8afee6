// Package discovery has the words that every domain of magellan shares: how well an
// answer is known and how fresh it must be ([Meta], [ReadOptions], [Bound]), which doubts
// there are about the records that it is made of ([Doubts]), which kinds of error there
// are, and who is notified of a change ([Topic], [Feed]).
//
// The package depends on no domain, on neither ZooKeeper nor the cache nor HTTP, and
// imports no other package of magellan. A domain uses these words to describe what it reads
// ([Keyed], [View]) and to answer questions. internal/cache mirrors what is described, and
// internal/httpapi renders the answers.
package discovery
