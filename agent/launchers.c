/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/launchers.h"

#include <stddef.h>
#include <string.h>

#include "agent/base/attr.h"

/* A preload is inherited; the port belongs to the program that the user means. */
static const char names[][18] = { /* no pointers: nothing to relocate at start */
	"sh",	      "bash",	   "dash",	"zsh",	     "ksh",	 "mksh",	"fish",
	"busybox",    "env",	   "timeout",	"nice",	     "ionice",	 "chrt",	"taskset",
	"nohup",      "setsid",	   "xargs",	"parallel",  "find",	 "watch",	"make",
	"gmake",      "ninja",	   "sudo",	"su",	     "doas",	 "runuser",	"setpriv",
	"chroot",     "unshare",   "nsenter",	"bwrap",     "runc",	 "crun",	"conmon",
	"tini",	      "dumb-init", "catatonit", "s6-svscan", "s6-supervise", "runsv",	"runsvdir",
	"supervise",  "gosu",	   "su-exec",	"strace",    "ltrace",	 "gdb",		"rr",
	"perf",	      "valgrind",  "script",	"stdbuf",    "time",	 "flock",	"start-stop-daemon",
	"daemonize",  "screen",	   "tmux",	"ssh-agent", "dbus-run-session", "numactl",
	"faketime",   "proot",	   "fakeroot",	"eatmydata", "cgexec",	 "systemd-run", "prlimit",
	"hyperfine",  "entr",
};

/* Scripts of an interpreter that only start others: argv[1]'s file name. */
static const char scripts[][18] = { "npm", "npx", "yarn", "pnpm", "corepack" };

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

static bool listed(const char (*list)[18], size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (!strcmp(list[i], name))
			return true;
	return false;
}

/* The children of Chromium and its kin (Electron, CEF): zygote and sandboxed ones end themselves when they
 * find a thread that they did not make (hazard G1). */
static bool is_browser_child(char **argv)
{
	for (; argv && *argv; argv++)
		if (!strncmp(*argv, "--type=", 7))
			return true;
	return false;
}

bool launchers_is_one(const char *exe, char **argv)
{
	if (listed(names, ARRAY_LEN(names), exe) || is_browser_child(argv))
		return true;
	return !strcmp(exe, "node") && argv && argv[0] && argv[1] &&
	       listed(scripts, ARRAY_LEN(scripts), base_name(argv[1]));
}

/* One [...] set at *pattern; *out_end is behind its ']', or NULL when it has none. */
static bool in_set(const char *pattern, char c, const char **out_end)
{
	const char *at = pattern + 1;
	bool negate = *at == '!' || *at == '^';
	bool found = false;

	at += negate;
	for (const char *first = at; *at && (*at != ']' || at == first); at++) {
		if (at[1] == '-' && at[2] && at[2] != ']') {
			found |= c >= at[0] && c <= at[2];
			at += 2;
		} else {
			found |= c == *at;
		}
	}
	*out_end = *at ? at + 1 : NULL;
	return found != negate;
}

bool launchers_match(const char *pattern, const char *name)
{
	const char *star = NULL, *retry = NULL, *end;

	while (*name) {
		bool ok;

		if (*pattern == '*') {
			star = ++pattern;
			retry = name;
			continue;
		}
		if (*pattern == '[') {
			ok = in_set(pattern, *name, &end);
			if (!end) {
				ok = *name == '[';
				end = pattern + 1;
			}
		} else {
			ok = *pattern == '?' || *pattern == *name;
			end = pattern + 1;
		}
		if (ok && *pattern) {
			pattern = end;
			name++;
		} else if (star) {
			pattern = star;
			name = ++retry;
		} else {
			return false;
		}
	}
	while (*pattern == '*')
		pattern++;
	return !*pattern;
}
