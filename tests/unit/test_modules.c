/* SPDX-License-Identifier: Apache-2.0 */
/* What is left of libraries that were unloaded. */
#include <dlfcn.h>
#include <stdint.h>

#include "agent/base/budget.h"
#include "agent/base/stats.h"
#include "agent/collect/modules.h"
#include "agent/collect/stacks.h"
#include "tests/unit/test.h"

/* Loads a library, keeps a stack through it if it is to be missed, and unloads it. */
static uint32_t unload(bool missed)
{
	const char *build = getenv("BUILD");
	struct modules_watch watch;
	uintptr_t pc;
	char path[512];
	void *handle;

	snprintf(path, sizeof(path), "%s/tests/libraries/inner.so", build ? build : "build");
	handle = dlopen(path, RTLD_NOW);
	if (!handle)
		test_fail(__FILE__, __LINE__, "%s", dlerror());
	pc = (uintptr_t)dlsym(handle, "inner_number");
	CHECK(pc && (!missed || stacks_intern(&pc, 1, modules_generation())));
	modules_before_close(&watch);
	CHECK_INT(dlclose(handle), 0);
	modules_after_close(&watch);
	return modules_generation();
}

TEST(an_unloaded_library_leaves_its_name)
{
	uint32_t before = modules_generation();

	budget_set(1 << 24);
	CHECK_INT(unload(true), before + 1);
	CHECK(modules_gone() && strstr(modules_gone()->path, "inner.so"));
	CHECK_INT(stat_read(STAT_UNLOADS_UNNAMED), 0);
}

TEST(a_library_without_memory_for_its_name_is_counted)
{
	uintptr_t pc = 0x1000;

	budget_set(1 << 24);
	CHECK(stacks_intern(&pc, 1, modules_generation()));
	budget_set(budget_used());
	unload(true);
	CHECK(!modules_gone());
	CHECK_INT(stat_read(STAT_UNLOADS_UNNAMED), 1);
}

/* It comes back to where it was. */
TEST(a_library_that_nobody_was_in_is_missed_once)
{
	budget_set(0);
	unload(false);
	unload(false);
	CHECK(!modules_gone());
	CHECK_INT(stat_read(STAT_UNLOADS_UNNAMED), 1);
}
