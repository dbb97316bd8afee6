// Package proof tests magellan as a distributed system: what its HTTP clients
// see, while everything below it breaks, is recorded and compared with what the
// cache promises.
//
// A [Run] starts a real ensemble of three servers and two replicas of the real
// binary, whose connections lead through toxiproxy. Writers change znodes
// straight at the ensemble, readers ask both replicas over HTTP, and a schedule
// that follows from the seed alone kills, stops and restarts servers, cuts,
// slows and blackens links and expires sessions. In each round a third replica
// starts meanwhile, at first without a link. After each round everything is
// mended, and the replicas have to come to the last values written.
//
// # What is checked
//
// A key is a register: a shop, a datacenter, a bad-citizen list, or an instance of
// a service. Its writer knows each of its versions with the transaction that made
// it (see writer, and owner for what lives with a session), so nothing in a
// history is unknown in the end. An answer about a service is a read of each of
// its instances, which is absent if the answer does not have it: the list is
// empty, or there is no such service. Reads are checked by [check]:
//
//   - Phantom: an answer is a value that somebody wrote.
//   - Age: an answer was true at some instant between its arrival and Age (and
//     the second that Age is rounded down by) before the request.
//   - Back in time: a read through a replica that begins after another one of
//     the same key has ended is not older, whoever the clients are. What the
//     shrink guard serves STALE may have been deleted before, and seen to be.
//     X-Zxid does not go back for a service either.
//   - Fresh: with Cache-Control: no-cache an answer that is not STALE was true
//     while the request was under way; all those reads and the writes together
//     are linearizable, which porcupine decides.
//   - Floor: with X-Min-Zxid the answer is at least that new.
//   - Max-stale: nothing is answered that is older, by its own Age or by the
//     clock of the one who cut the links.
//   - Converged: with all faults mended the last value is served, neither STALE
//     nor UPDATING.
//   - Not known: who has had no link since its start tells nothing.
//   - Served: no connection is dropped, and no status but those of the API.
//
// Cached reads are not linearizable, and are not claimed to be.
//
// # What is not done
//
// Nothing here asserts how quick anything is. A seed repeats the schedule, not
// the interleaving of processes.
package proof
