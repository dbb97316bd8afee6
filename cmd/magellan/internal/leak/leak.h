// Only builds with the tag leakhandler use this.
#ifndef MAGELLAN_LEAK_H
#define MAGELLAN_LEAK_H

void leak_remember(const char *name);

#endif
