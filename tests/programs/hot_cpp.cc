// SPDX-License-Identifier: Apache-2.0
// A C++ program whose hottest function is known: planted::Hot<int>::churn(unsigned long), a member of
// a template in a namespace, called through a virtual function, a lambda and a recursion. Four threads
// beside main, for ever. Prints "ready" first.
#include <cstdint>
#include <cstdio>
#include <functional>
#include <memory>
#include <thread>
#include <unistd.h>
#include <vector>

namespace planted
{
static volatile uint64_t sink;

template <typename T> struct Hot {
	[[gnu::noinline]] void churn(unsigned long x)
	{
		for (int i = 0; i < 300000; i++)
			x = x * 6364136223846793005u + sizeof(T);
		sink = x;
	}
};

struct Base {
	virtual ~Base() = default;
	virtual void step(int depth) = 0;
};

struct Derived : Base {
	Hot<int> hot;

	[[gnu::noinline]] void step(int depth) override
	{
		if (depth > 0)
			step(depth - 1);
		else
			hot.churn(static_cast<unsigned long>(depth) + 7);
		sink = sink + 1;
	}
};

[[gnu::noinline]] void cold(std::vector<std::unique_ptr<int>> &keep)
{
	for (int i = 0; i < 200; i++)
		keep.push_back(std::make_unique<int>(i));
	keep.clear();
}
} // namespace planted

static void run()
{
	auto it = std::make_unique<planted::Derived>();
	std::function<void(int)> call = [&](int depth) { it->step(depth); };
	std::vector<std::unique_ptr<int>> keep;

	for (int i = 0;; i++) {
		call(i % 20);
		planted::cold(keep);
	}
}

int main()
{
	alarm(300); // never outlive a test that went wrong
	std::vector<std::thread> threads;

	for (int i = 0; i < 3; i++)
		threads.emplace_back(run);
	std::puts("ready");
	std::fflush(stdout);
	run();
}
