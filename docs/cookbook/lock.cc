// SPDX-License-Identifier: Apache-2.0
// Four workers, one lock, and one of them holds it while it writes its log. For docs/cookbook.md; ends after two minutes.
#include <chrono>
#include <mutex>
#include <thread>
#include <unistd.h>
#include <vector>

static std::mutex table_lock;
static unsigned long table[64];

[[gnu::noinline]] static void write_log()
{
	std::this_thread::sleep_for(std::chrono::milliseconds(5));
}

[[gnu::noinline]] static void look_up(unsigned n)
{
	std::lock_guard<std::mutex> hold(table_lock);
	table[n % 64]++;
}

[[gnu::noinline]] static void update_and_log(unsigned n)
{
	std::lock_guard<std::mutex> hold(table_lock);
	table[n % 64] = n;
	write_log();
}

int main()
{
	std::vector<std::thread> workers;

	alarm(120);
	for (int i = 0; i < 3; i++)
		workers.emplace_back([] {
			for (unsigned n = 0;; n++) {
				look_up(n);
				usleep(1000);
			}
		});
	for (unsigned n = 0;; n++) {
		update_and_log(n);
		usleep(5000);
	}
}
