#ifndef LEAKTEST_BUSY_H
#define LEAKTEST_BUSY_H

/* leaktest_busy starts threads that compute, allocate and free until leaktest_stop is
 * called. It returns how many threads there are. leaktest_stop waits for their end. */
int leaktest_busy(int threads);
void leaktest_stop(void);

#endif
