/* The requests, and the text of their answers. docs/any-process.md describes both. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "../../jemalloc/libraries.h"
#include "agent.h"
#include "sampler.h"
#include "server.h"
#include "text.h"
#include "host.h"

#ifndef AGENT_VERSION
#error "AGENT_VERSION names the build: build/agent.sh defines it"
#endif

/* The first frame of an answer that is no error. */
static void accept_request(struct agent_answer *a)
{
	agent_answer_string(a, "ok");
	agent_answer_flush(a);
}

/* ---- status ---- */

static void put_text(struct agent_answer *a, const char *key, const char *value)
{
	agent_answer_string(a, key);
	agent_answer_string(a, " ");
	for (; *value != 0; value++) /* a path may have any byte in it */
		agent_answer_bytes(a, *value == '\n' ? "?" : value, 1);
	agent_answer_string(a, "\n");
}

static void put_number(struct agent_answer *a, const char *key, uint64_t value)
{
	agent_answer_string(a, key);
	agent_answer_string(a, " ");
	agent_answer_decimal(a, value);
	agent_answer_string(a, "\n");
}

static void put_walks(struct agent_answer *a)
{
	uint64_t all = 0, cut = 0;

	for (int end = 0; end < GOWALK_ENDS; end++) {
		uint64_t n = agent_walks(end);

		all += n;
		cut += end != GOWALK_WHOLE && end != GOWALK_RUNTIME ? n : 0; /* the runtime's own calls have no Go caller */
	}
	put_number(a, "walks", all);
	put_number(a, "walks_cut", cut);
	for (int end = GOWALK_WHOLE + 1; end < GOWALK_ENDS; end++) {
		agent_answer_string(a, "walks_");
		put_number(a, agent_walk_end_name(end), agent_walks(end));
	}
	put_number(a, "walks_scanned", agent_walks_scanned());
}

static void answer_status(struct agent_answer *a)
{
	const char *other = "";
	struct agent_stats s;

	agent_sampler_stats(&s);
	put_number(a, "protocol", 1);
	put_text(a, "version", AGENT_VERSION);
	put_number(a, "pid", (uint64_t)getpid());
	put_number(a, "uid", (uint64_t)geteuid());
	put_text(a, "entered", "preload");
	put_text(a, "state", s.on ? "on" : "off");
	put_number(a, "sample", s.period);
	put_number(a, "live_objects", s.live_objects);
	put_number(a, "live_bytes", s.live_bytes);
	put_number(a, "live_estimate", s.live.bytes);
	put_number(a, "objects", s.all_objects);
	put_number(a, "bytes", s.all_bytes);
	put_number(a, "stacks", s.stacks);
	put_number(a, "stacks_dropped", s.stacks_dropped);
	put_number(a, "missed", s.missed);
	put_number(a, "own_bytes", s.own_bytes);
	put_text(a, "unwinder", agent_host.reason == NULL ? "c+go" : "c");
	if (agent_host.reason != NULL)
		put_text(a, "unwinder_reason", agent_host.reason);
	put_text(a, "malloc", agent_real_path());
	if (agent_is_first(&other)) {
		put_text(a, "first", "yes");
	} else {
		put_text(a, "first", "no");
		put_text(a, "first_other", other);
	}
	agent_answer_string(a, "go_text ");
	agent_answer_hex(a, agent_host.image.text);
	agent_answer_string(a, "-");
	agent_answer_hex(a, agent_host.image.etext);
	agent_answer_string(a, "\n");
	put_walks(a);
}

/* ---- dump ---- */

static void put_counts(struct agent_answer *a, const struct agent_stack *s)
{
	uint64_t objects, bytes;

	agent_estimate_counts(s->live, s->period, &objects, &bytes);
	agent_answer_string(a, "  t*: ");
	agent_answer_decimal(a, objects);
	agent_answer_string(a, ": ");
	agent_answer_decimal(a, bytes);
	agent_estimate_counts(s->all, s->period, &objects, &bytes);
	agent_answer_string(a, " [");
	agent_answer_decimal(a, objects);
	agent_answer_string(a, ": ");
	agent_answer_decimal(a, bytes);
	agent_answer_string(a, "]\n");
}

static bool put_stack(void *arg, const struct agent_stack *s)
{
	struct agent_answer *a = arg;

	if (s->pcs == NULL) { /* the totals, which come first */
		accept_request(a);
		agent_answer_string(a, "heap_v2/");
		agent_answer_decimal(a, s->period);
		agent_answer_string(a, "\n");
	} else {
		agent_answer_string(a, "@");
		for (uint32_t i = 0; i < s->len; i++) {
			agent_answer_string(a, " ");
			agent_answer_hex(a, s->pcs[i]);
		}
		agent_answer_string(a, "\n");
	}
	put_counts(a, s);
	return !a->broken;
}

/* jemalloc's format heap_v2, which ends with the memory map. If the program has no /proc, because
 * it has changed its root, the client adds the map. */
static void answer_dump(struct agent_answer *a)
{
	char buffer[1024];
	ssize_t n = 0;
	int maps;

	if (!agent_sampler_each(put_stack, a)) {
		if (!a->broken) /* nothing was sent yet */
			agent_answer_string(a, "error the kernel refused the memory for a copy of the profile: ask again when the process has more");
		return;
	}
	agent_answer_string(a, "\nMAPPED_LIBRARIES:\n");
	maps = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	while (maps >= 0 && ((n = read(maps, buffer, sizeof buffer)) > 0 || (n < 0 && errno == EINTR)))
		if (n > 0)
			agent_answer_bytes(a, buffer, (size_t)n);
	if (maps >= 0 && n < 0)
		a->broken = true;
	if (maps >= 0)
		close(maps);
}

/* ---- names ---- */

static bool read_hex(const char **s, uintptr_t *value)
{
	const char *begin;

	if ((*s)[0] == '0' && (*s)[1] == 'x')
		*s += 2;
	begin = *s;
	for (*value = 0;; ++*s) {
		unsigned char c = (unsigned char)**s, lower = c | 0x20;

		if (c >= '0' && c <= '9')
			*value = *value << 4 | (c - '0');
		else if (lower >= 'a' && lower <= 'f')
			*value = *value << 4 | (lower - 'a' + 10);
		else
			return *s != begin && *s - begin <= 16;
	}
}

/* A function's name as Go prints it: the arguments of a generic function are left out, as
 * runtime.funcNameForPrint does it. */
static void put_function(struct agent_answer *a, const char *name)
{
	const char *open = strchr(name, '['), *close = strrchr(name, ']');

	if (open == NULL || close == NULL || close < open) {
		agent_answer_string(a, name);
		return;
	}
	agent_answer_bytes(a, name, (size_t)(open - name));
	agent_answer_string(a, "[...]");
	agent_answer_string(a, close + 1);
}

static void put_frames(struct agent_answer *a, uintptr_t pc)
{
	struct goimage_frame f;

	if (!goimage_frames_first(&agent_host.image, pc - 1, &f))
		return;
	agent_answer_hex(a, pc);
	agent_answer_string(a, "\n");
	do {
		agent_answer_string(a, "\t");
		put_function(a, f.function);
		agent_answer_string(a, "\t");
		agent_answer_string(a, f.file);
		agent_answer_string(a, "\t");
		agent_answer_decimal(a, f.line > 0 ? (uint64_t)f.line : 0);
		agent_answer_string(a, "\n");
	} while (goimage_frames_next(&agent_host.image, &f));
}

static void answer_names(struct agent_answer *a, const char *list)
{
	uintptr_t pc;

	for (;;) {
		while (*list == ' ')
			list++;
		if (*list == 0 || !read_hex(&list, &pc))
			return;
		put_frames(a, pc);
	}
}

/* ---- libraries ---- */

static void put_bytes(struct agent_answer *a, const char *key, const unsigned char *bytes, uint32_t n)
{
	static const char digits[] = "0123456789abcdef";

	agent_answer_string(a, key);
	agent_answer_string(a, " ");
	for (uint32_t i = 0; i < n; i++) {
		agent_answer_bytes(a, &digits[bytes[i] >> 4], 1);
		agent_answer_bytes(a, &digits[bytes[i] & 15], 1);
	}
	agent_answer_string(a, "\n");
}

static void put_hex(struct agent_answer *a, const char *key, uint64_t value)
{
	agent_answer_string(a, key);
	agent_answer_string(a, " ");
	agent_answer_hex(a, value);
	agent_answer_string(a, "\n");
}

/* The libraries that were on the stacks of samples and that the program can close: lines
 * "key value", as in status. `more yes` comes first if not all were recorded. A line `library`
 * begins each library, with the addresses of its code. Then follow the `offset` of its code
 * in the file, its `build_id`, or else its `headers` (a hash of them), its `path`, `pcs`, which
 * are its return addresses on those stacks, and `all yes` if these are all of them. The path is
 * as the dynamic linker has it, so it may be relative to the working directory. */
static void answer_libraries(struct agent_answer *a)
{
	struct gojemalloc_library l;
	uintptr_t pcs[GOJEMALLOC_LIBRARY_PCS];

	put_text(a, "more", gojemalloc_libraries_more() ? "yes" : "no");
	for (unsigned i = 0; i < gojemalloc_libraries_len(); i++) {
		bool full = false;
		unsigned n = gojemalloc_libraries_get(i, &l, pcs, &full);

		if (l.path[0] == 0) /* a thread is about to record it */
			continue;
		agent_answer_string(a, "library ");
		agent_answer_hex(a, l.start);
		agent_answer_string(a, "-");
		agent_answer_hex(a, l.limit);
		agent_answer_string(a, "\n");
		put_hex(a, "offset", l.offset);
		if (l.build_id_len > 0)
			put_bytes(a, "build_id", l.build_id, l.build_id_len);
		else
			put_hex(a, "headers", l.headers);
		put_text(a, "path", l.path);
		agent_answer_string(a, "pcs");
		for (unsigned j = 0; j < n; j++) {
			agent_answer_string(a, " ");
			agent_answer_hex(a, pcs[j]);
		}
		agent_answer_string(a, "\n");
		put_text(a, "all", full ? "no" : "yes");
	}
}

/* ---- requests ---- */

/* If the request begins with a word, *rest is what follows it. */
static bool is_request(const char *request, const char *word, const char **rest)
{
	size_t len = strlen(word);

	if (strncmp(request, word, len) != 0 || (request[len] != 0 && request[len] != ' '))
		return false;
	*rest = request + len + (request[len] == ' ');
	return true;
}

void agent_answer(struct agent_answer *a, char *request)
{
	const char *rest;
	uint64_t bytes;

	if (!agent_sampling()) {
		agent_answer_string(a, "error the kernel refused the memory for the sampler");
	} else if (is_request(request, "status", &rest)) {
		accept_request(a);
		answer_status(a);
	} else if (is_request(request, "dump", &rest)) {
		answer_dump(a); /* which may still refuse */
	} else if (is_request(request, "names", &rest)) {
		accept_request(a);
		answer_names(a, rest);
	} else if (is_request(request, "libraries", &rest)) {
		accept_request(a);
		answer_libraries(a);
	} else if (is_request(request, "on", &rest) || is_request(request, "off", &rest)) {
		agent_sampler_set(request[1] == 'n');
		accept_request(a);
	} else if (is_request(request, "sample", &rest)) {
		if (!agent_read_decimal(&rest, &bytes) || *rest != 0 || bytes == 0) {
			agent_answer_string(a, "error sample needs a number of bytes");
			return;
		}
		agent_sampler_period(bytes);
		accept_request(a);
	} else {
		agent_answer_string(a, "error this agent has no such request: status, dump, names, libraries, on, off, sample");
	}
}
