// SPDX-License-Identifier: Apache-2.0
// Burns CPU in a chain of inlined functions whose lines carry marks: a template, a lambda, an unnamed
// namespace, a member. Until its alarm.
#include <algorithm>
#include <string>
#include <unistd.h>
#include <vector>

#define ALWAYS inline __attribute__((always_inline))

namespace planted
{
namespace
{
template <typename T> ALWAYS T inner(T x, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		x = (x ^ (x >> 7)) * 1664525u + i; /* HOT */
	return x;
}
} // namespace

struct Box {
	volatile unsigned sum = 0;
	unsigned seed = 1;

	ALWAYS unsigned middle(unsigned x, unsigned n) const
	{
		auto spin = [&](unsigned y) __attribute__((always_inline)) { return inner(y ^ 1, n); /* CALLS inner */ };

		return spin(x) + seed; /* CALLS lambda */
	}

	__attribute__((noinline)) unsigned outer(unsigned n)
	{
		return middle(seed, n); /* CALLS middle */
	}
};

template <typename T> __attribute__((noinline)) std::string describe(const std::vector<T> &list)
{
	std::string text;

	for (const T &one : list)
		text += std::to_string(one) + ",";
	return text;
}
} // namespace planted

int main()
{
	planted::Box box;
	std::vector<int> list(64);

	alarm(120);
	for (;;) {
		for (int i = 0; i < 64; i++)
			list[i] = static_cast<int>(box.seed * static_cast<unsigned>(i) % 61);
		std::sort(list.begin(), list.end(), [](int a, int b) { return a > b; });
		box.seed += static_cast<unsigned>(list[3]) + planted::describe(list).size();
		box.sum = box.sum + box.outer(4000000);
	}
}
