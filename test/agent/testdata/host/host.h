#ifndef HOST_H
#define HOST_H

#include <stddef.h>

/* Allocates n blocks of size bytes and keeps them. */
void host_keep(int n, size_t size);

/* Frees all blocks that host_keep has allocated. */
void host_free(void);

/* Allocates and keeps one block on each of 2^bits different stacks. */
void host_stacks(int bits);

/* Allocates one block on each of 2^bits different stacks, and frees it. */
void host_pass(int bits);

/* Ends the process by a wrong access in C. */
void host_crash(void);

/* Runs n threads, at most 16 at once. Each allocates a block of size bytes, which is kept,
 * and many that it frees, and ends. Returns an error number. */
int host_threads(int n, size_t size);

/* Forks n times while other threads allocate. Each child allocates as well, with a thread of
 * its own, and exits with 0. Returns the number of children that did not. */
int host_fork(int n);

/* Has the kernel refuse a system call to all threads, with EPERM. Returns an error number. */
int host_forbid(int call);

/* Forks. The child closes all descriptors, as a daemon does, opens files and starts a thread.
 * Returns its exit status: 0 if the files are still its own. */
int host_daemon(void);

/* Allocates until the process may have no more address space, and frees all. The limit is
 * room bytes above what the process has. Returns the number of blocks, or -1 if an
 * allocation has failed in a wrong way. */
int host_exhaust(size_t room, size_t size);

/* Calls a library, which allocates n blocks of size bytes and keeps them. The library stays open until
 * host_close. Returns NULL or an error. */
const char *host_open(const char *path);
const char *host_call(int n, size_t size);
const char *host_close(void);

#endif
