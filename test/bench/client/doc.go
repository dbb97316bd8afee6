// Package client is what ZooKeeper clients are measured with, whichever they are: a fill
// by goroutines that read one znode at a time, and the REST wrapper that one would write
// first. Programs give it a function that reads a znode. It links no client, because two
// that use libzookeeper do not fit into one program.
package client
