// Package client asks magellan servers, and follows what they answer.
//
// A [Client] knows the addresses of one or several servers. Its methods make questions, which
// are values; [Question.Get] asks once:
//
//	c, err := client.New(client.Config{Servers: []string{"http://m1:8080", "http://m2:8080"}})
//	cart, err := c.Service("cart", client.Filter{}).Get(ctx)
//
// [Question.Follow] goes on asking, in the background, and has the answer in memory:
//
//	cart := c.Service("cart", client.Filter{}).Follow()
//	defer cart.Close()
//	for answer, err := range cart.Changes(ctx) {
//		...
//	}
//
// Many followers share a stream of server-sent events (GET /v1/watch). What no stream has, such as
// a service with a filter, is followed by long polls.
//
// # What is known
//
// Three states are told apart. An answer is a value; or it is an error for which
// errors.Is(err, [ErrNotFound]) holds, and then ZooKeeper does not have it; or nothing is known,
// which is any other error. A follower that can reach no server keeps its last answer. [Meta.Known]
// says when that was last known to be true, and [Meta.Doubt] what is wrong.
//
// A follower does not go back in time when it changes servers: an answer that may be made of an older
// state is confirmed before it counts, with the headers X-Min-Zxid and, where no transaction tells,
// Cache-Control: no-cache. After a minute it counts in any case, because an ensemble that was set up
// again from a backup has lost transactions for good.
//
// # Failures
//
// If one of several servers fails, or says that its answer is STALE, the others are asked. A server
// that has failed comes last from then on. If all fail, followers try again after pauses that grow
// up to 15 seconds and have random lengths, so that many clients do not all come at once.
package client
