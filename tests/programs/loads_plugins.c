/* SPDX-License-Identifier: Apache-2.0 */
/*
 * LDLIBS: -Wl,--enable-new-dtags,-rpath,$ORIGIN/plugins
 * Loads a plug-in by this program's RUNPATH, which names a directory beside it; the plug-in loads another by
 * its own. Who calls dlopen decides where it looks: a wrapper in between would change that.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

int main(void)
{
	void *plugin = dlopen("libplugin.so", RTLD_NOW | RTLD_LOCAL), *other;
	int (*run)(void) = plugin ? (int (*)(void))dlsym(plugin, "plugin_run") : NULL;

	printf("plugin: %s\n", plugin ? "found" : dlerror());
	printf("run: %d\n", run ? run() : -1);
	other = dlmopen(LM_ID_NEWLM, "libplugin.so", RTLD_NOW);
	printf("in another namespace: %s\n", other ? "found" : dlerror());
	run = other ? (int (*)(void))dlsym(other, "plugin_run") : NULL;
	printf("run: %d\n", run ? run() : -1);
	printf("global: %s\n", dlsym(RTLD_DEFAULT, "plugin_run") ? "leaked" : "not there");
	for (int i = 0; i < 100; i++)
		if (plugin && (dlclose(plugin) != 0 || !(plugin = dlopen("libplugin.so", RTLD_NOW))))
			abort();
	puts("done");
	return 0;
}
