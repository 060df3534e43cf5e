/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/collect/slots.h"

#include "agent/base/attr.h"
#include "agent/base/budget.h"
#include "agent/base/sys.h"

enum {
	SLOTS_MIN = 1 << 12,
	BYTES_PER_SLOT = 512, /* of the budget: about one slot per stack when it is full */
};

COLD struct slots *slots_make(_Atomic(struct slots *) *home)
{
	size_t n = SLOTS_MIN;
	struct slots *made, *none = NULL;

	while (n * BYTES_PER_SLOT < budget_limit())
		n *= 2;
	made = sys_map(sizeof(*made) + n * sizeof(made->first[0]));
	if (!made)
		return NULL;
	made->mask = n - 1;
	/* release: the mask is seen before the address */
	if (atomic_compare_exchange_strong_explicit(home, &none, made, memory_order_acq_rel, memory_order_acquire))
		return made;
	sys_unmap(made, sizeof(*made) + n * sizeof(made->first[0]));
	return none;
}
