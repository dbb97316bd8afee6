// The session with ZooKeeper that fill.c, watch.c and write.c have each: one handle,
// and flags to wait for that its threads raise.
#ifndef MAGELLAN_BENCH_SESSION_H
#define MAGELLAN_BENCH_SESSION_H

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <zookeeper/zookeeper.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int connected;
static zhandle_t *handle;

static void set(int *flag, int value)
{
	pthread_mutex_lock(&mutex);
	*flag = value;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&mutex);
}

static void wait_for(int *flag)
{
	pthread_mutex_lock(&mutex);
	while (!*flag)
		pthread_cond_wait(&changed, &mutex);
	pthread_mutex_unlock(&mutex);
}

// Returns once on_session has set connected.
static void connect_to(const char *server, watcher_fn on_session)
{
	zoo_set_debug_level(ZOO_LOG_LEVEL_ERROR);
	handle = zookeeper_init(server, on_session, 30000, NULL, NULL, 0);
	if (!handle) {
		perror("zookeeper_init");
		exit(1);
	}
	// Left alone libzookeeper resolves the server's name again on every pass of its
	// I/O loop, which would add half to what all the rest takes. magellan sets the
	// same.
	zoo_set_servers_resolution_delay(handle, 10000);
	wait_for(&connected);
}

#endif
