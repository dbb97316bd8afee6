/* A lock that needs nothing of libpthread, which glibc before 2.34 keeps in a library of its
 * own. A waiter sleeps in the kernel (futex), so a thread of high priority does not keep the
 * owner of the lock from running.
 *
 * fork: the thread that forks takes all locks before, and frees them in the parent and in
 * the child (sampler.c). Meanwhile other fork handlers may allocate and free. So in that
 * thread, and only there, locks have no effect.
 *
 * Never call a function of the process's malloc with a lock held: it may be in its own fork
 * handler, or call the agent. */
#ifndef AGENT_LOCK_H
#define AGENT_LOCK_H

#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "thread.h"

struct agent_lock {
	int word; /* 0 free, 1 held, 2 held and perhaps somebody sleeps */
};

enum { AGENT_LOCK_SPINS = 100 };

static inline void agent_lock(struct agent_lock *lock)
{
	int saved_errno, seen;

	if (agent_thread.forking)
		return;
	for (int i = 0; i < AGENT_LOCK_SPINS; i++) {
		seen = 0;
		if (__atomic_compare_exchange_n(&lock->word, &seen, 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
			return;
		__builtin_ia32_pause();
	}
	saved_errno = errno;
	while (__atomic_exchange_n(&lock->word, 2, __ATOMIC_ACQUIRE) != 0)
		syscall(SYS_futex, &lock->word, FUTEX_WAIT_PRIVATE, 2, NULL, NULL, 0);
	errno = saved_errno;
}

static inline void agent_unlock(struct agent_lock *lock)
{
	if (agent_thread.forking)
		return;
	if (__atomic_exchange_n(&lock->word, 0, __ATOMIC_RELEASE) == 2) {
		int saved_errno = errno;

		syscall(SYS_futex, &lock->word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
		errno = saved_errno;
	}
}

/* In the child after fork, where no other thread waits. */
static inline void agent_lock_reset(struct agent_lock *lock)
{
	__atomic_store_n(&lock->word, 0, __ATOMIC_RELEASE);
}

#endif
