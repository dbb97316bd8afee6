package client

import "time"

// serverClock finds out when a server has written an event. An event may have lain in a network that
// stood still, or in a process that did, and its ages count from when it was written. The clocks of the
// two machines need not agree. The event of a stream that was the least behind is taken for one that
// came at once, and by how much more another one is behind is how late that is. An error of that is as
// long as any event takes at the least.
type serverClock struct {
	began time.Time // the request, before which the server has written nothing
	any   bool
	least time.Duration // from the server's time to the time here
}

// written returns when an event was written that has this time of the server in it, in milliseconds of
// Unix time. 0 is an event without a time. Of the first event nothing is known but that it was written
// after the request.
func (c *serverClock) written(milliseconds int64) time.Time {
	now := time.Now()
	if milliseconds == 0 {
		return now
	}
	behind := now.Sub(time.UnixMilli(milliseconds))
	if !c.any || behind < c.least {
		first := !c.any
		c.any, c.least = true, behind
		if first {
			return c.began
		}
		return now
	}
	return now.Add(c.least - behind)
}
