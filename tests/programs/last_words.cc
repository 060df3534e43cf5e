/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads whose last acts allocate, lock and free: destructors of thread_local objects, of keys in all the
 * rounds that there are, and handlers that these register anew, made in every order; ended by return,
 * pthread_exit and cancellation. Prints how many of each ran; the same with and without the agent.
 */
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <pthread.h>
#include <string>
#include <vector>

static std::atomic<int> locals, rounds, broken;
static pthread_key_t keys[3];
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static void touch_everything(int n)
{
	std::vector<std::string> words(static_cast<size_t>(n % 7 + 1), std::string(200, 'x'));
	void *p = realloc(malloc(10), 5000);

	pthread_mutex_lock(&mutex);
	if (!p || words.back().size() != 200)
		broken++;
	pthread_mutex_unlock(&mutex);
	free(p);
}

struct Local {
	int n = 1;
	~Local()
	{
		touch_everything(n);
		locals++;
	}
};
static thread_local Local first;

static void end_of_key(void *value)
{
	long left = reinterpret_cast<long>(value) % 10, which = reinterpret_cast<long>(value) / 10;

	touch_everything(static_cast<int>(left));
	rounds++;
	if (left > 1)
		pthread_setspecific(keys[which], reinterpret_cast<void *>(which * 10 + left - 1));
}

static void *work(void *arg)
{
	long way = reinterpret_cast<long>(arg);
	static thread_local Local second;

	if (way & 1)
		first.n = 2;
	for (long k = 0; k < 3; k++)
		pthread_setspecific(keys[way & 2 ? k : 2 - k], reinterpret_cast<void *>((way & 2 ? k : 2 - k) * 10 + 4));
	second.n = 3;
	first.n += static_cast<int>(way & 4);
	touch_everything(static_cast<int>(way));
	if (way % 3 == 1)
		pthread_exit(nullptr);
	if (way % 3 == 2)
		for (pthread_cancel(pthread_self());;)
			pthread_testcancel();
	return nullptr;
}

int main()
{
	for (auto &key : keys)
		if (pthread_key_create(&key, end_of_key) != 0)
			return 1;
	for (long batch = 0; batch < 50; batch++) {
		pthread_t threads[24];

		for (long i = 0; i < 24; i++)
			if (pthread_create(&threads[i], nullptr, work, reinterpret_cast<void *>(i)) != 0)
				return 1;
		for (auto &thread : threads)
			pthread_join(thread, nullptr);
	}
	printf("locals %d, rounds %d, broken %d\n", locals.load(), rounds.load(), broken.load());
	return 0;
}
