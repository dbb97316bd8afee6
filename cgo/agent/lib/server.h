/* The socket on which the agent answers. */
#ifndef AGENT_SERVER_H
#define AGENT_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One answer: frames of at most AGENT_FRAME bytes, which are sent as they fill. */
enum { AGENT_FRAME = 1 << 14 };

struct agent_answer {
	int fd;
	bool broken; /* the client is gone: nothing more is sent */
	size_t len;
	unsigned char frame[4 + AGENT_FRAME];
};

void agent_answer_bytes(struct agent_answer *answer, const void *bytes, size_t n);
void agent_answer_string(struct agent_answer *answer, const char *s);
void agent_answer_decimal(struct agent_answer *answer, uint64_t n);
void agent_answer_hex(struct agent_answer *answer, uint64_t n); /* with 0x */
void agent_answer_flush(struct agent_answer *answer); /* ends the frame */

/* Carries out a request, a line without its end, and writes the whole answer but its end. */
void agent_answer(struct agent_answer *answer, char *request);

/* Makes the socket and the thread that answers, unless there are some. create is the
 * process's own pthread_create. May be called from any thread at any time. */
typedef int agent_create_thread(void *id, const void *attributes, void *(*fn)(void *), void *arg);
void agent_server_start(agent_create_thread *create);

#endif
