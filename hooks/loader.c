/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dlclose is the only function of the loader that is wrapped: it does not depend on who calls it,
 * while a wrapped dlopen would search the wrong RUNPATH (hazard B4).
 *
 * Context: hook.
 */
#include "agent/base/attr.h"
#include "agent/base/tls.h"
#include "agent/collect/modules.h"
#include "agent/collect/process.h"
#include "agent/collect/unwind.h"
#include "hooks/real.h"

EXPORT int dlclose(void *handle)
{
	struct modules_watch watch;
	int err;

	if (!process_is_target() || !guard_enter())
		return real.dlclose(handle);
	modules_before_close(&watch);
	guard_leave();
	unwind_before_close();
	err = real.dlclose(handle); /* runs the module's destructors: not under the guard */
	if (guard_enter()) {
		modules_after_close(&watch);
		guard_leave();
	} else {
		modules_after_close(&watch);
	}
	unwind_after_close();
	return err;
}
