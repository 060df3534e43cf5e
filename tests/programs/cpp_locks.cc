/* SPDX-License-Identifier: Apache-2.0 */
/* CFLAGS: -std=gnu++20 */
/*
 * The standard library's waits, 30 ms each or more, one function for each: their names are what profiles must
 * show. Prints "done", waits for a line, ends.
 */
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <future>
#include <latch>
#include <mutex>
#include <semaphore>
#include <shared_mutex>
#include <thread>

#define NOINLINE __attribute__((noinline, noclone))
using namespace std::chrono_literals;

static std::mutex mutex;
static std::timed_mutex timed;
static std::recursive_mutex recursive;
static std::shared_mutex shared;
static std::condition_variable condition;
static std::latch latch(1);
static std::atomic<int> number;
static std::counting_semaphore<8> semaphore(0);

static std::atomic<bool> held, coming;

static void wait_until(const std::atomic<bool> &flag)
{
	while (!flag)
		std::this_thread::sleep_for(1ms);
}

template <class Lock> static void hold(Lock &lock)
{
	lock.lock();
	held = true;
	wait_until(coming);
	std::this_thread::sleep_for(30ms);
	lock.unlock();
}

/* asm keeps a call from being the last thing: a jump would leave no frame */
NOINLINE static void holds_mutex() { hold(mutex); asm volatile(""); }
NOINLINE static void waits_for_mutex() { std::lock_guard g(mutex); asm volatile(""); }
NOINLINE static void holds_timed() { hold(timed); asm volatile(""); }
NOINLINE static void waits_for_timed() { if (timed.try_lock_for(10s)) timed.unlock(); asm volatile(""); }
NOINLINE static void holds_recursive() { hold(recursive); asm volatile(""); }
NOINLINE static void waits_for_recursive() { std::lock_guard g(recursive); asm volatile(""); }
NOINLINE static void holds_shared() { hold(shared); asm volatile(""); }
NOINLINE static void waits_for_shared() { std::shared_lock g(shared); asm volatile(""); }
NOINLINE static void waits_for_condition()
{
	std::unique_lock g(mutex);
	condition.wait_for(g, 30ms);
}
NOINLINE static void waits_for_latch() { latch.wait(); asm volatile(""); }
NOINLINE static void waits_for_atomic() { number.wait(0); asm volatile(""); }
NOINLINE static void waits_for_semaphore() { semaphore.acquire(); asm volatile(""); }
NOINLINE static int waits_for_future(std::future<int> f) { return f.get() + 1; }
NOINLINE static void waits_for_thread()
{
	std::thread t([] { std::this_thread::sleep_for(30ms); });
	t.join();
}

static void contend(void (*holder)(), void (*waiter)())
{
	held = coming = false;
	std::thread a(holder);

	wait_until(held);
	std::thread b([waiter] {
		coming = true;
		waiter();
	});
	a.join();
	b.join();
}

int main()
{
	contend(holds_mutex, waits_for_mutex);
	contend(holds_timed, waits_for_timed);
	contend(holds_recursive, waits_for_recursive);
	contend(holds_shared, waits_for_shared);
	waits_for_condition();
	std::thread later([] {
		std::this_thread::sleep_for(30ms);
		latch.count_down();
		std::this_thread::sleep_for(30ms);
		number = 1;
		number.notify_all();
		std::this_thread::sleep_for(30ms);
		semaphore.release();
	});
	waits_for_latch();
	waits_for_atomic();
	waits_for_semaphore();
	later.join();
	waits_for_future(std::async(std::launch::async, [] {
		std::this_thread::sleep_for(30ms);
		return 1;
	}));
	waits_for_thread();
	puts("done");
	fflush(stdout);
	getchar();
}
