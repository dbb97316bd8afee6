package proof

import (
	"time"

	"github.com/anishathalye/porcupine"
)

// linearTimeout bounds the search for one key's linearization, which is quick as
// each key has one writer.
const linearTimeout = time.Minute

// register is a key as porcupine sees it: the state is the number of its version.
func register(versions []version) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return 0 },
		Step: func(state, input, _ any) (bool, any) {
			if r, ok := input.(read); ok {
				return versions[state.(int)].fits(r), state
			}
			// Transactions have an order, and the versions stand in it.
			return input.(int) == state.(int)+1, input
		},
	}
}

// checkLinear has porcupine find an order of all writes and all fresh reads,
// through whatever replica, which may lack what leaderLag says. An answer that says
// STALE claims nothing.
func checkLinear(h *history, found *violations) {
	var ops []porcupine.Operation
	for i, v := range h.versions[1:] {
		ops = append(ops, porcupine.Operation{Input: i + 1, Call: int64(v.from), Return: int64(v.by)})
	}
	for _, r := range h.reads {
		if r.fresh && r.cache != stale {
			ops = append(ops, porcupine.Operation{Input: r, Call: int64(r.begin - leaderLag), Return: int64(r.end)})
		}
	}
	switch porcupine.CheckOperationsTimeout(register(h.versions), ops, linearTimeout) {
	case porcupine.Illegal:
		found.add(Linear, h.key, "no order of %d writes and fresh reads explains what was read", len(ops))
	case porcupine.Unknown:
		found.add(Linear, h.key, "undecided after %v: make the rounds shorter", linearTimeout)
	}
}
