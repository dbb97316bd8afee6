/* How the agent begins.
 *
 * The dynamic linker loads the library into every program that is started with LD_PRELOAD:
 * also into the shell that starts the program that is meant. So the constructor looks
 * whether the program is one of Go. If it is not, the agent only hands on: its malloc every
 * call, and itself to the programs that this one starts (carry.c).
 *
 * In a Go program the constructor starts the sampler, and takes the agent out of the
 * environment. It makes no thread, because a program may have to be single-threaded until
 * it has entered a namespace. The thread that answers is made with the first thread that
 * the program itself makes, by the agent's pthread_create. */
#define _GNU_SOURCE
#include "agent.h"
#include "libc.h"

#include <link.h>
#include <stdint.h>

#include "../../jemalloc/libraries.h"
#include "carry.h"
#include "env.h"
#include "real.h"
#include "sampler.h"
#include "server.h"
#include "thread.h"
#include "host.h"

static bool sampling;

bool agent_sampling(void) { return sampling; }

/* Finds how the dynamic linker was told of this library. */
static int find_self(struct dl_phdr_info *info, size_t size, void *arg)
{
	(void)size;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *p = &info->dlpi_phdr[i];

		if (p->p_type == PT_LOAD && (uintptr_t)find_self - (info->dlpi_addr + p->p_vaddr) < p->p_memsz) {
			*(const char **)arg = info->dlpi_name;
			return 1;
		}
	}
	return 0;
}

__attribute__((constructor)) static void begin(void)
{
	struct agent_settings settings;
	const char *self = "";

	if (!agent_has_libc())
		return;
	agent_carry_find();
	agent_host_find();
	agent_env_read(&settings);
	dl_iterate_phdr(find_self, &self);
	if (!agent_host.is_go || settings.children)
		agent_carry_start(self);
	if (!agent_host.is_go)
		return;
	if (!settings.children)
		agent_env_leave(self);
	gojemalloc_libraries_start();
	sampling = agent_sampler_start(settings.sample, !settings.off);
}

__attribute__((visibility("default"))) int pthread_create(void *id, const void *attributes, void *(*fn)(void *), void *arg)
{
	static agent_create_thread *_Atomic real;

	if (real == NULL)
		real = (agent_create_thread *)agent_real_function("pthread_create");
	if (real == NULL)
		return 11; /* EAGAIN: there are no threads in this process */
	if (agent_host.is_go) {
		bool inside = agent_thread.inside;

		agent_thread.inside = true; /* the agent's own thread is not sampled */
		agent_server_start(real);
		agent_thread.inside = inside;
	}
	return real(id, attributes, fn, arg);
}
