/* SPDX-License-Identifier: Apache-2.0 */
/*
 * LDLIBS: -Wl,--enable-new-dtags,-rpath,$ORIGIN/inner
 * A plug-in that looks for another one next to itself, by its own RUNPATH, and for the next malloc.
 */
#include <dlfcn.h>
#include <stdio.h>

int plugin_run(void);
int plugin_run(void)
{
	void *inner = dlopen("libinner_of_plugin.so", RTLD_NOW), *next = dlsym(RTLD_NEXT, "plugin_run"),
	     *again = dlopen("libinner_of_plugin.so", RTLD_NOW | RTLD_NOLOAD);
	int (*number)(void) = inner ? (int (*)(void))dlsym(inner, "inner_number") : NULL;

	printf("inner: %s, next plugin_run: %s, loaded already: %s\n", inner ? "found" : dlerror(),
	       next ? "found" : "none", again == inner ? "the same" : "another");
	return number ? number() : -1;
}
