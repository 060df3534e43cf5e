/* SPDX-License-Identifier: Apache-2.0 */
/* Maps of strings that grow, are searched and are thrown away: churn [ROUNDS]. */
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <unordered_map>
#include <vector>

int main(int argc, char **argv)
{
	int rounds = argc > 1 ? std::atoi(argv[1]) : 20;
	unsigned chance = 1;
	size_t sum = 0;

	for (int round = 0; round < rounds; round++) {
		std::map<std::string, std::vector<std::string>> orders;
		std::unordered_map<std::string, int> seen;

		for (int i = 0; i < 50000; i++) {
			chance = chance * 1664525 + 1013904223;
			std::string key = "account number " + std::to_string(chance % 16384);
			orders[key].push_back("line " + std::to_string(i) + " of a rather long order");
			sum += (size_t)++seen[key];
		}
		for (auto at = orders.begin(); at != orders.end();)
			at = at->second.size() % 2 ? orders.erase(at) : std::next(at);
		sum += orders.size();
	}
	std::printf("%zu\n", sum);
}
