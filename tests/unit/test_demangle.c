/* SPDX-License-Identifier: Apache-2.0 */
/* encode/demangle: its own rules and its limits; the corpus of tests/encode/names.txt is judged in
 * tests/integration/test_names.py. */
#include "agent/base/budget.h"
#include "agent/base/mem.h"
#include "encode/demangle.h"
#include "tests/unit/test.h"

TEST(demangle_marks)
{
	static const struct {
		const char *in, *want;
	} rows[] = {
		{ "main", "main" },
		{ "foo.part.0", "foo" },
		{ "foo.cold", "foo" },
		{ "foo.cold.12", "foo" },
		{ "foo.constprop.0.isra.0", "foo" },
		{ "foo.lto_priv.3", "foo" },
		{ "foo.llvm.1234567890", "foo" },
		{ "foo.avx2", "foo.avx2" },
		{ "foo.7", "foo.7" },
		{ "foo.", "foo." },
		{ ".cold", ".cold" },
		{ "partial", "partial" },
		{ "a.department.0", "a.department.0" },
		{ "malloc@plt", "malloc@plt" },
		{ "_Znwm@plt", "operator new@plt" },
		{ "_ZN1AC2Ev.part.0", "A::A" },
		{ "_ZN1A1fEi.cold", "A::f" },
		{ "_Z", "_Z" },
		{ "_R", "_R" },
		{ "_ZN", "_ZN" },
		{ "_GLOBAL__sub_I_main", "_GLOBAL__sub_I_main" },
		{ "_GLOBAL__I_foo", "global constructors keyed to foo" },
		{ "_GLOBAL_", "_GLOBAL_" },
		{ "", "" },
	};
	struct demangle_text text = { 0 };

	budget_set(1 << 24);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		CHECK(demangle(&text, rows[i].in));
		CHECK_STR(text.text, rows[i].want);
	}
	demangle_free(&text);
	CHECK_INT(mem_used(), 0);
}

TEST(demangle_every_prefix_of_a_long_name)
{
	static const char name[] =
		"_ZNKSt10_HashtableINSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEESt4pairIKS5_"
		"St8functionIFvRKS5_EEESaISC_ENSt8__detail10_Select1stESt8equal_toIS5_ESt4hashIS5_E"
		"NSE_18_Mod_range_hashingENSE_20_Default_ranged_hashENSE_20_Prime_rehash_policyE"
		"NSE_17_Hashtable_traitsILb1ELb0ELb1EEEE19_M_find_before_nodeEmRS7_m";
	struct demangle_text text = { 0 };
	char cut[sizeof(name)];

	budget_set(1 << 24);
	CHECK(demangle(&text, name));
	CHECK_STR(text.text, "std::_Hashtable::_M_find_before_node");
	for (size_t n = 0; n < sizeof(name); n++) {
		memcpy(cut, name, n);
		cut[n] = '\0';
		CHECK(demangle(&text, guarded_copy(cut, n + 1)));
		CHECK(text.len > 0 || n == 0);
	}
	demangle_free(&text);
	CHECK_INT(mem_used(), 0);
}

/* Names made to exhaust stack or memory come out somehow, and soon. */
TEST(demangle_hostile)
{
	static char name[1 << 16];
	static const char *const patterns[] = { "P", "S_", "F", "I", "NK", "1aI", "T_", "Z1aE", "DpT_",
						"XL", "_R", "RNvNv", "YTT", "INvC1a", "B_", "\x01\x02" };
	struct demangle_text text = { 0 };
	unsigned seed = 23;

	budget_set(1 << 25);
	for (size_t p = 0; p < 2 * sizeof(patterns) / sizeof(patterns[0]); p++) {
		const char *pattern = patterns[p / 2];
		size_t n = strlen(strcpy(name, p % 2 ? "_RIC1a" : "_Z1fI"));

		while (n + 8 < sizeof(name) - 50000 * (p % 3 == 0))
			n += strlen(strcpy(name + n, pattern));
		CHECK(demangle(&text, name));
	}
	for (int round = 0; round < 30000; round++) {
		static const char letters[] = "NSIEZTLXFPRKCDJMOQt_0123456789abcvilsxpdw.$";
		size_t n = strlen(strcpy(name, round % 3 == 0 ? "_ZN" : round % 3 == 1 ? "_Z" : "_R"));

		for (size_t end = n + (size_t)rand_r(&seed) % 60; n < end; n++)
			name[n] = letters[(size_t)rand_r(&seed) % (sizeof(letters) - 1)];
		name[n] = '\0';
		CHECK(demangle(&text, name));
	}
	demangle_free(&text);
	CHECK_INT(mem_used(), 0);
}

TEST(demangle_without_memory)
{
	struct demangle_text text = { 0 };
	char name[9000] = "_Z";

	for (size_t n = 2; n < sizeof(name) - 8; n += 3)
		memcpy(name + n, "1aI", 3);
	budget_set(1 << 16);
	demangle(&text, "_ZN1A1fEi"); /* true or false, but no crash */
	CHECK(!demangle(&text, name) || text.text);
	demangle_free(&text);
	CHECK_INT(mem_used(), 0);
}
