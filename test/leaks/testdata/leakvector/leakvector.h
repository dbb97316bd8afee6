#ifndef MAGELLAN_ZK_LEAKVECTOR_H
#define MAGELLAN_ZK_LEAKVECTOR_H

#include "shim.h"

void zk_leak_children(zk_handle *h, const char *path);

#endif
