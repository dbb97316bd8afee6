// Package client tests the package client against magellans and a ZooKeeper, under faults of all
// three. It is in another module than the client, as the programs are that import it.
package client
