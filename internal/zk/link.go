package zk

/*
#cgo CFLAGS: -DTHREADED -O2
#cgo LDFLAGS: -lzookeeper_mt -Wl,--wrap=deserialize_ReplyHeader -Wl,--wrap=serialize_SetWatches
#include <zookeeper/zookeeper.h>
#include <zookeeper/zookeeper_version.h>

// 3.6 is the first release with all that the C files call: removal of watches on
// the server, a delay between two resolutions of host names, TTL nodes.
#ifndef ZOO_VERSION
#error "libzookeeper_mt 3.6.0 or newer is needed: install libzookeeper-mt-dev, or point CGO_CFLAGS and CGO_LDFLAGS to a newer one"
#endif
*/
import "C"

// minVersion is checked again by Open against the headers' version.
const minMajor, minMinor = 3, 6
