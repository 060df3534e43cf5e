// SPDX-License-Identifier: Apache-2.0
// A generic index whose lookup copies the path that it is given. For docs/cookbook.md; ends after two minutes.
#include <map>
#include <string>
#include <unistd.h>
#include <vector>

template <typename Key, typename Value> class Index {
	std::map<Key, Value> entries;

public:
	[[gnu::noinline]] void insert(Key key, Value value)
	{
		entries[key] = value;
	}
	[[gnu::noinline]] unsigned long lookup(const std::vector<Key> &path)
	{
		std::vector<Key> parts = path; // all of it, for one look at its end

		return entries.count(parts.back());
	}
};

int main()
{
	Index<std::string, int> index;
	std::vector<std::string> path;
	volatile unsigned long found = 0;

	alarm(120);
	for (int i = 0; i < 200; i++) {
		path.push_back("a component of a path that is long " + std::to_string(i));
		index.insert(path.back(), i);
	}
	for (;;)
		found = found + index.lookup(path);
}
