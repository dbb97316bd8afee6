#ifndef LEAKTEST_BUSY_H
#define LEAKTEST_BUSY_H

/* Threads that compute, and now and then allocate and free, until they are told to
 * stop. leaktest_busy gives how many there are. */
int leaktest_busy(int threads);
void leaktest_stop(void);

#endif
