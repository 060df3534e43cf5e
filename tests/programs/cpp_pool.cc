/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A thread pool as they are written: four std::threads with names take work from a queue under a mutex and a
 * condition variable. Each piece of work takes 1 ms of CPU time; until stdin ends main looks every 2 ms whether
 * all wait, and adds one then: so all of them wait time and again, however busy the machine is.
 */
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <ctime>
#include <deque>
#include <functional>
#include <mutex>
#include <poll.h>
#include <pthread.h>
#include <string>
#include <thread>
#include <unistd.h>
#include <vector>

namespace work {

class Pool {
	std::mutex mutex;
	std::condition_variable more;
	std::deque<std::function<void()>> queue;
	std::vector<std::thread> threads;
	bool stops = false;
	int idle = 0;
	volatile long added = 0;

    public:
	explicit Pool(int n)
	{
		for (int i = 0; i < n; i++)
			threads.emplace_back([this, i] {
				pthread_setname_np(pthread_self(), ("pool-" + std::to_string(i)).c_str());
				run();
			});
	}

	__attribute__((noinline)) void run()
	{
		for (;;) {
			std::function<void()> next;
			{
				std::unique_lock<std::mutex> lock(mutex);
				idle++;
				more.wait(lock, [this] { return stops || !queue.empty(); });
				idle--;
				if (stops)
					return;
				next = std::move(queue.front());
				queue.pop_front();
			}
			next();
		}
	}

	__attribute__((noinline)) void add(std::function<void()> job)
	{
		{
			std::lock_guard<std::mutex> lock(mutex);
			if (idle < (int)threads.size() || !queue.empty())
				return;
			queue.push_back(std::move(job));
		}
		more.notify_one();
		added = added + 1; /* behind the call: it is not the last thing that this function does */
	}

	~Pool()
	{
		{
			std::lock_guard<std::mutex> lock(mutex);
			stops = true;
		}
		more.notify_all();
		for (auto &thread : threads)
			thread.join();
	}
};

static void burn()
{
	timespec start, now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &start);
	do
		clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	while ((now.tv_sec - start.tv_sec) * 1000000000 + now.tv_nsec - start.tv_nsec < 1000000);
}

} // namespace work

int main()
{
	work::Pool pool(4);
	pollfd input = { 0, POLLIN, 0 };

	alarm(120);
	puts("ready");
	fflush(stdout);
	while (poll(&input, 1, 2) == 0)
		pool.add(work::burn);
	return 0;
}
