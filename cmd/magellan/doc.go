// Command magellan answers service-discovery questions over plain HTTP from a
// cache that ZooKeeper keeps true.
//
//	magellan serve    answers, until it is told to stop
//	magellan import   writes shops, datacenters, regions and bad citizens to ZooKeeper
//	magellan get      asks a running server
//	magellan heap     shows the memory that C holds in a running server
//	magellan health   says whether a running server is alive, or ready
//	magellan version  says what it was built from
//
// "magellan COMMAND --help" describes every flag; each can be given as an
// environment variable as well.
//
// What went wrong is one line on stderr, and one of these exit codes:
//
//	0    done
//	1    failed; for import: also where lines were left out because they are bad
//	2    the command line, an environment variable or a file named there is wrong; for
//	     heap: the admin token too
//	3    ZooKeeper (for get and heap: the server) cannot be reached
//	4    what was asked for does not exist: a shop, an address on a list, the root
//	     znode, a heap dump
//	130  interrupted; for serve, heap watch and heap open that is how they end: 0
//
// Each command has a file of its own. This package puts the others together and
// knows as little as it can: flags become the Config of a package, answers become
// lines on a terminal.
package main
