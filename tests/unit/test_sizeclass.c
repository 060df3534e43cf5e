/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdint.h>

#include "agent/collect/sizeclass.h"
#include "agent/collect/weight.h"
#include "tests/unit/test.h"

TEST(sizeclass_low_is_the_smallest_of_its_class)
{
	uint32_t before = 0;

	for (uint64_t size = 0; size < 100000; size++) {
		uint32_t c = sizeclass_of(size);

		CHECK(c == before || c == before + 1);
		CHECK(sizeclass_low(c) <= size);
		CHECK(sizeclass_of(sizeclass_low(c)) == c);
		CHECK(sizeclass_low(c + 1) > size);
		/* 8 steps per power of two */
		CHECK(size - sizeclass_low(c) <= size / 8);
		before = c;
	}
}

TEST(sizeclass_holds_every_size)
{
	for (unsigned e = 0; e < 64; e++) {
		uint64_t size = (uint64_t)1 << e;

		CHECK_INT(sizeclass_low(sizeclass_of(size)), size);
		CHECK(sizeclass_low(sizeclass_of(size + size / 2)) == size + size / 2);
	}
	CHECK(sizeclass_of(UINT64_MAX) < SIZECLASS_N);
	CHECK_INT(sizeclass_of(UINT64_MAX), SIZECLASS_N - 1);
}

TEST(weight_is_one_over_the_chance)
{
	static const uint64_t rates[] = { 2, 3, 64, 4096, 524288, (uint64_t)1 << 40 };
	static const uint64_t sizes[] = { 1, 2, 7, 16, 100, 4095, 4096, 65536, 524287, 524288,
					  1 << 20, (uint64_t)1 << 33 };

	for (size_t r = 0; r < sizeof(rates) / sizeof(rates[0]); r++) {
		for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
			double want = -1 / expm1(-(double)sizes[s] / (double)rates[r]);

			CHECK(fabs(weight_factor(sizes[s], rates[r]) - want) < 1e-9 * want);
		}
	}
	CHECK(weight_factor(0, 1) == 1 && weight_factor(1, 1) == 1 && weight_factor(5, 0) == 1);
}

/* The error of rounding a weight stays below 2^-17 of it, at every rate and size. */
TEST(weight_units_are_fine_enough)
{
	for (uint64_t rate = 1; rate < (uint64_t)1 << 41; rate *= 3) {
		for (uint64_t size = 1; size < (uint64_t)1 << 40; size = size * 5 / 4 + 1) {
			struct weight w = weight_of(size, rate, rate);
			uint32_t c = sizeclass_of(size);
			double factor = weight_factor(size, rate);
			double count = ldexp((double)w.count, -(int)weight_count_bits(c, rate));
			double bytes = ldexp((double)w.bytes, -(int)weight_bytes_bits(c, rate));

			CHECK(fabs(count / factor - 1) <= 0x1p-17);
			CHECK(fabs(bytes / (factor * (double)size) - 1) <= 0x1p-17);
			/* room for 2^44 such samples */
			CHECK(w.count > 0 && (w.count < (int64_t)1 << 19 ||
					      weight_count_bits(c, rate) == 0));
			CHECK(w.bytes > 0 && (w.bytes < (int64_t)1 << 19 ||
					      weight_bytes_bits(c, rate) == 0));
		}
	}
}

TEST(weight_is_exact_at_rate_one)
{
	for (uint64_t size = 0; size < 200000; size += 1 + size / 50) {
		struct weight w = weight_of(size, 1, 1);
		uint32_t c = sizeclass_of(size);

		CHECK_INT(weight_round(w.count, weight_count_bits(c, 1)), 1);
		CHECK_INT(w.bytes, (int64_t)(size << weight_bytes_bits(c, 1)));
		CHECK_INT(w.plain, size);
	}
}

TEST(weight_round_never_falls)
{
	for (unsigned bits = 0; bits <= 16; bits++) {
		int64_t before = INT64_MIN / 2;

		for (int64_t v = -100000; v < 100000; v += 7) {
			CHECK(weight_round(v, bits) >= before);
			before = weight_round(v, bits);
		}
	}
	CHECK_INT(weight_round(0x18000, 16), 2);
	CHECK_INT(weight_round(0x17fff, 16), 1);
	CHECK_INT(weight_round(INT64_MAX - 0x8000, 16), (INT64_MAX - 0x8000 + 0x8000) >> 16);
}
