/* SPDX-License-Identifier: Apache-2.0 */
/* Two accounts, two transfers, two orders of locking. For docs/cookbook.md; ends after two minutes. */
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

struct account {
	pthread_mutex_t lock;
	long money;
};
static struct account anna = {PTHREAD_MUTEX_INITIALIZER, 100}, otto = {PTHREAD_MUTEX_INITIALIZER, 100};

__attribute__((noinline)) static void transfer(struct account *from, struct account *to, long money)
{
	pthread_mutex_lock(&from->lock);
	usleep(100000);
	pthread_mutex_lock(&to->lock);
	from->money -= money;
	to->money += money;
	pthread_mutex_unlock(&to->lock);
	pthread_mutex_unlock(&from->lock);
}

static void *pay_back(void *arg)
{
	transfer(&otto, &anna, 20);
	return arg;
}

int main(void)
{
	pthread_t thread;

	alarm(120);
	pthread_create(&thread, NULL, pay_back, NULL);
	transfer(&anna, &otto, 10);
	pthread_join(thread, NULL);
	puts("done");
}
