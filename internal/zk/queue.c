// The queue between libzookeeper's threads and a client's dispatcher: records
// appended to chunks, an eventfd that is written only when the reader waits.
#define _GNU_SOURCE
#include "internal.h"

#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
	CHUNK = 64 << 10,        // bytes of records malloc'd at once
	SPARE_CHUNKS = 4,        // kept by a queue for reuse
};

struct zk_queue {
	pthread_mutex_t mu;
	struct zk_chunk *head, *tail;
	struct zk_chunk *spare;
	int spares;
	int armed;               // the reader waits for the eventfd
	int fd;
};

atomic_llong zk_live_queues, zk_live_chunks;

zk_queue *zk_queue_new(void)
{
	int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (fd < 0)
		return NULL;
	zk_queue *q = zk_must(calloc(1, sizeof *q));
	pthread_mutex_init(&q->mu, NULL);
	q->fd = fd;
	atomic_fetch_add(&zk_live_queues, 1);
	return q;
}

int zk_queue_fd(zk_queue *q) { return q->fd; }

static void chunks_free(struct zk_chunk *c)
{
	while (c != NULL) {
		struct zk_chunk *next = c->next;
		free(c);
		atomic_fetch_sub(&zk_live_chunks, 1);
		c = next;
	}
}

// zk_queue_free does not close the eventfd: Go's os.File owns it.
void zk_queue_free(zk_queue *q)
{
	chunks_free(q->head);
	chunks_free(q->spare);
	pthread_mutex_destroy(&q->mu);
	free(q);
	atomic_fetch_sub(&zk_live_queues, 1);
}

// zk_reserve returns a record, zeroed but for the payload of len bytes behind it. The
// queue is locked until zk_commit.
struct zk_event *zk_reserve(zk_queue *q, int kind, uint64_t id, int rc, size_t len)
{
	size_t size = (sizeof(struct zk_event) + len + 7) & ~(size_t)7;
	pthread_mutex_lock(&q->mu);
	struct zk_chunk *c = q->tail;
	if (c == NULL || c->cap - c->used < size) {
		if (size <= CHUNK && q->spare != NULL) {
			c = q->spare;
			q->spare = c->next;
			q->spares--;
		} else {
			size_t cap = size > CHUNK ? size : CHUNK;
			c = zk_must(malloc(sizeof *c + cap));
			c->cap = (uint32_t)cap;
			atomic_fetch_add(&zk_live_chunks, 1);
		}
		c->next = NULL;
		c->used = 0;
		if (q->tail != NULL)
			q->tail->next = c;
		else
			q->head = c;
		q->tail = c;
	}
	struct zk_event *e = (struct zk_event *)(c->data + c->used);
	c->used += (uint32_t)size;
	memset(e, 0, sizeof *e);
	e->id = id;
	e->kind = kind;
	e->rc = rc;
	e->zxid = zk_reply_zxid;
	e->size = (uint32_t)size;
	e->len = (int32_t)len;
	return e;
}

void zk_commit(zk_queue *q)
{
	int wake = q->armed;
	q->armed = 0;
	pthread_mutex_unlock(&q->mu);
	if (wake) {
		uint64_t one = 1;
		ssize_t n = write(q->fd, &one, sizeof one);
		(void)n; // an eventfd fails only when its counter is full: then it is readable
	}
}

void zk_post(zk_queue *q, int kind, uint64_t id, int rc)
{
	zk_reserve(q, kind, id, rc, 0);
	zk_commit(q);
}

// zk_take frees the records of the last call and returns all later ones. If it returns
// NULL, there are none, and the next one will make the eventfd readable.
struct zk_chunk *zk_take(zk_queue *q, struct zk_chunk *done)
{
	struct zk_chunk *drop = NULL;
	pthread_mutex_lock(&q->mu);
	while (done != NULL) {
		struct zk_chunk *next = done->next;
		if (done->cap == CHUNK && q->spares < SPARE_CHUNKS) {
			done->next = q->spare;
			q->spare = done;
			q->spares++;
		} else {
			done->next = drop;
			drop = done;
		}
		done = next;
	}
	struct zk_chunk *head = q->head;
	q->head = q->tail = NULL;
	q->armed = head == NULL;
	pthread_mutex_unlock(&q->mu);
	chunks_free(drop);
	return head;
}
