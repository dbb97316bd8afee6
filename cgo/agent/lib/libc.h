/* What the agent calls of the C library. All of it is weak. build/agent.sh includes this file
 * into every source, the walker's too.
 *
 * The library is loaded into programs that have no C library at all, or none with threads:
 * a shell that has it in its environment starts such programs too. If a symbol were missing
 * there, the program would not start. The agent calls these functions only in a program
 * that has them: agent_has_libc is asked at the start. Go programs that use cgo have all.
 *
 * Functions on memory and strings are the agent's own (string.c), because the compiler and
 * libgcc call them everywhere. */
#ifndef AGENT_LIBC_H
#define AGENT_LIBC_H
#ifndef __ASSEMBLER__

#include <stdbool.h>

#pragma weak __errno_location
#pragma weak accept4
#pragma weak bind
#pragma weak close
#pragma weak dup2
#pragma weak getenv
#pragma weak geteuid
#pragma weak getpid
#pragma weak getsockname
#pragma weak getsockopt
#pragma weak listen
#pragma weak madvise
#pragma weak mmap
#pragma weak munmap
#pragma weak open
#pragma weak prctl
#pragma weak pthread_attr_destroy
#pragma weak pthread_attr_init
#pragma weak pthread_attr_setdetachstate
#pragma weak pthread_attr_setstacksize
#pragma weak pthread_sigmask
#pragma weak read
#pragma weak readlink
#pragma weak recv
#pragma weak sched_yield
#pragma weak select
#pragma weak send
#pragma weak setsockopt
#pragma weak sigfillset
#pragma weak socket
#pragma weak syscall
#pragma weak sysconf
#pragma weak unsetenv
#pragma weak write

/* Whether the process has a C library. */
bool agent_has_libc(void);

#endif
#endif
