/* SPDX-License-Identifier: Apache-2.0 */
/* Two libraries of one size, loaded at one address in turn, whose functions at the same place have
 * different frames. -DFRAME=bytes makes the difference. */
#include <string.h>

int swap_call(int (*then)(void *), void *arg);

/* Both are padded to the same size; only the frames differ. */
__attribute__((noinline, aligned(256))) static int inner(int (*then)(void *), void *arg)
{
	volatile char pad[FRAME];

	memset((char *)pad, 1, sizeof(pad));
	return then(arg) + pad[FRAME / 2];
}

__attribute__((visibility("default"), aligned(256))) int swap_call(int (*then)(void *), void *arg)
{
	volatile char pad[FRAME * 2];

	pad[0] = 1;
	return inner(then, arg) + pad[0];
}
