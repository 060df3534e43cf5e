// SPDX-License-Identifier: Apache-2.0
// One unit with much debug information. It is linked hundreds of times under other names: work_0 becomes
// work_1 and so on.
#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <numeric>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <unordered_map>
#include <variant>
#include <vector>

template <int N> struct Layer {
	std::map<int, std::vector<std::string>> names;
	std::unordered_map<std::string, std::shared_ptr<Layer<N - 1>>> below;
	std::set<std::pair<int, std::string>> pairs;
	std::function<int(int)> call = [](int x) { return x + N; };

	int sum() const
	{
		int total = 0;

		for (const auto &[key, list] : names)
			total += key + static_cast<int>(list.size());
		for (const auto &[key, layer] : below)
			total += layer->sum() + static_cast<int>(key.size());
		return total + call(N);
	}
};
template <> struct Layer<0> {
	int sum() const { return 0; }
};

extern "C" unsigned work_0(unsigned n)
{
	Layer<12> layer;
	std::variant<int, std::string, std::vector<double>> some = std::string("x");
	unsigned x = n;

	layer.names[1].push_back("one");
	if (n == 7 && std::regex_search(std::string("abc"), std::regex("b+")))
		x += static_cast<unsigned>(std::get<std::string>(some).size());
	for (unsigned i = 0; i < 2000; i++)
		x = (x ^ (x >> 7)) * 1664525u + i;
	std::ostringstream out;
	out << x << layer.sum();
	return x + static_cast<unsigned>(out.str().size());
}
