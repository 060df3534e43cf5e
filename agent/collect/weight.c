/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/collect/weight.h"

#include "agent/base/attr.h"
#include "agent/collect/sizeclass.h"

enum { FRACTION = 17 };

/* exp(-x) for x > 0, absolute error below 1e-15: 2^-k * exp(-r), r in [0, ln 2). */
static double exp_minus(double x)
{
	const double ln2 = 0.69314718055994530942;
	double r, sum = 1;
	int k;
	union {
		double d;
		uint64_t bits;
	} scale;

	if (x > 700)
		return 0;
	k = (int)(x / ln2);
	r = x - k * ln2;
	for (int i = 16; i >= 1; i--)
		sum = 1 - sum * r / i;
	scale.bits = (uint64_t)(1023 - k) << 52;
	return sum * scale.d;
}

double weight_factor(uint64_t size, uint64_t rate)
{
	double x, x2;

	if (rate <= 1)
		return 1;
	x = (double)size / (double)rate;
	if (x >= 1)
		return 1 / (1 - exp_minus(x));
	/* 1/(1-e^-x) = 1/x + 1/2 + x/12 - x^3/720 + ... (Bernoulli numbers): no cancellation */
	x2 = x * x;
	return 1 / x + 0.5 +
	       x * (1.0 / 12 -
		    x2 * (1.0 / 720 -
			  x2 * (1.0 / 30240 -
				x2 * (1.0 / 1209600 -
				      x2 * (1.0 / 47900160 - x2 * (691.0 / 1307674368000))))));
}

/* So many bits below the point that a value of at least 2^(log2 - 1) has 16 in all. */
static unsigned fraction_for(unsigned log2)
{
	return log2 >= FRACTION ? 0 : FRACTION - log2;
}

unsigned weight_count_bits(uint32_t sizeclass, uint64_t base_rate)
{
	unsigned rate = ilog2_64(base_rate), size = ilog2_64(sizeclass_low(sizeclass));

	return fraction_for(rate > size ? rate - size : 0);
}

unsigned weight_bytes_bits(uint32_t sizeclass, uint64_t base_rate)
{
	unsigned rate = ilog2_64(base_rate), size = ilog2_64(sizeclass_low(sizeclass));

	return fraction_for(rate > size ? rate : size);
}

NOINLINE struct weight weight_of(uint64_t size, uint64_t rate, uint64_t base_rate)
{
	uint32_t sizeclass = sizeclass_of(size);
	double factor = weight_factor(size, rate);
	double bytes = factor * (double)size;
	unsigned count_bits = weight_count_bits(sizeclass, base_rate);
	unsigned bytes_bits = weight_bytes_bits(sizeclass, base_rate);

	return (struct weight){
		.count = (int64_t)(factor * (double)(1u << count_bits) + 0.5),
		.bytes = (int64_t)(bytes * (double)(1u << bytes_bits) + 0.5),
		.plain = (int64_t)(bytes + 0.5),
	};
}
