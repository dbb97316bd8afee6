#ifndef MAGELLAN_LEAKHANDLER_H
#define MAGELLAN_LEAKHANDLER_H

void leak_remember(const char *name);

#endif
