/* SPDX-License-Identifier: Apache-2.0 */
/* Any text as a linkage name: comes out as some text, in bounded memory. */
#include "agent/base/budget.h"
#include "agent/base/mem.h"
#include "encode/demangle.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct demangle_text text = { 0 };
	char *name = malloc(size + 1);

	budget_set(32 << 20);
	memcpy(name, data, size);
	name[size] = '\0';
	if (demangle(&text, name) && (!text.text || strlen(text.text) != text.len))
		abort();
	demangle_free(&text);
	free(name);
	if (mem_used())
		abort();
	return 0;
}
