package cache

// instant is a point in time as nanoseconds since the cache was opened, on the
// monotonic clock. 0 means never; the cache's own clock starts at 1.
type instant int64

// doubt is since when something is not known to be what ZooKeeper holds, and whether
// what ZooKeeper holds is being read. 0 is no doubt. The instant stands above the
// lowest bit, which is set while that is so.
type doubt int64

func newDoubt(since instant, reading bool) doubt {
	d := doubt(since) << 1
	if reading {
		d |= 1
	}
	return d
}

// since is the last instant of which there is no doubt.
func (d doubt) since() instant { return instant(d >> 1) }

// reading: ZooKeeper has announced a change, and it is being read.
func (d doubt) reading() bool { return d&1 != 0 }

// stuck is the same doubt when no read is under way that will end it.
func (d doubt) stuck() doubt { return d &^ 1 }
