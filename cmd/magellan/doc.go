// Command magellan answers service-discovery questions over plain HTTP from a
// cache that ZooKeeper keeps true.
//
//	magellan serve    answers requests until SIGTERM or SIGINT
//	magellan import   writes shops, datacenters, regions and bad citizens to ZooKeeper
//	magellan layouts  recognizes the services that other programs keep in ZooKeeper
//	magellan get      sends requests to a running server
//	magellan heap     shows the memory that C holds in a running server, or in any Go program
//	magellan health   checks whether a running server is alive, or ready
//	magellan version  prints the versions from which it was built
//
// "magellan COMMAND --help" describes every flag; each can be given as an
// environment variable as well.
//
// An error is one line on stderr, and one of these exit codes:
//
//	0    done
//	1    failed; for import: also if bad lines were left out; for heap run: the agent cannot
//	     work in the program
//	2    the command line, an environment variable or a file named there is wrong; for
//	     heap: the admin token too
//	3    ZooKeeper (for get and heap: the server, or the agent in a process) cannot be reached
//	4    something does not exist: a shop, a service, a znode, an address on a list, the
//	     root znode, a heap dump, a layout that is recognized, a process, or its agent
//	130  interrupted. serve, heap watch and heap open are ended in this way: 0
//
// heap run becomes the program that it starts, whose exit code may be any.
//
// Each command has a file of its own. This package puts the other packages together
// and contains little else: it turns flags into the Config of a package, and answers
// into lines on a terminal.
package main
