// SPDX-License-Identifier: Apache-2.0
// The C++ part of the storm: throws through a few frames with cleanups.
#include <stdexcept>
#include <string>

extern "C" unsigned long throw_some(unsigned long n);

namespace {
struct counted {
	unsigned long &n;
	~counted() { n++; }
};

__attribute__((noinline)) void thrower(int depth, unsigned long &n)
{
	counted c{n};

	if (depth == 0)
		throw std::runtime_error("storm");
	thrower(depth - 1, n);
	asm volatile("" ::: "memory");
}
} // namespace

unsigned long throw_some(unsigned long times)
{
	unsigned long n = 0;

	while (times--) {
		try {
			thrower(10, n);
		} catch (const std::exception &e) {
			n += std::string(e.what()).size();
		}
	}
	return n;
}
