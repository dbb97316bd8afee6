/* What libgcc's unwinder calls besides dl_iterate_phdr.
 *
 * Its locks protect the frames that a program registers by __register_frame. Nobody can
 * register any with the copy of the unwinder that is in the agent. Some versions of libgcc
 * require these functions, and a program without threads may not have them, so here they
 * are, and do nothing. */
#include <pthread.h>

#pragma GCC visibility push(hidden)

int pthread_mutex_lock(pthread_mutex_t *mutex)
{
	(void)mutex;
	return 0;
}

int pthread_mutex_unlock(pthread_mutex_t *mutex)
{
	(void)mutex;
	return 0;
}

int pthread_cond_wait(pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex)
{
	(void)condition, (void)mutex;
	return 0;
}

int pthread_cond_broadcast(pthread_cond_t *condition)
{
	(void)condition;
	return 0;
}

int pthread_once(pthread_once_t *once, void (*function)(void))
{
	if (__atomic_exchange_n((int *)once, 1, __ATOMIC_ACQ_REL) == 0)
		function();
	return 0;
}

/* Called if the unwinder's own tables are damaged. */
void abort(void) { __builtin_trap(); }

#pragma GCC visibility pop
