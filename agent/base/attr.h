/* SPDX-License-Identifier: Apache-2.0 */
/* Compiler vocabulary shared by every room. Knows nothing of profiling. */
#ifndef BASE_ATTR_H
#define BASE_ATTR_H

/* The symbol is interposed: visible to the target. Every use has a row in hooks/hooks.def. */
#define EXPORT	    __attribute__((visibility("default")))
/* For declarations on hot paths: no detour through the GOT. */
#define HIDDEN	    __attribute__((visibility("hidden")))
#define COLD	    __attribute__((cold, noinline))
/* Code that runs in a few ns: at the beginning of a cache line it costs 0.3 ns less (tests/bench/locks.c). */
#define HOT	    __attribute__((aligned(64)))
/* Large arrays, last in .bss: between them and the small state of all modules would lie pages that every
 * process of a moment's life would touch for a few bytes each (tests/bench/start.py). */
#define BIG	    __attribute__((section(".bss.zz_big")))
#define NOINLINE    __attribute__((noinline))
#define INLINE	    static inline __attribute__((always_inline))
#define UNUSED	    __attribute__((unused))
#define LIKELY(x)   __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)
#define PRINTF(fmt_index, args_index) __attribute__((format(printf, fmt_index, args_index)))

/* Thread-local without __tls_get_addr, which may allocate or take the loader's lock (hazard C5).
 * The whole library may use 64 bytes of it: scripts/check-exports measures PT_TLS. */
#define TLS __thread __attribute__((tls_model("initial-exec")))

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define CONTAINER_OF(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))
#define ALIGN_UP(x, a)	 (((x) + ((a)-1)) & ~((__typeof__(x))(a)-1))
#define ALIGN_DOWN(x, a) ((x) & ~((__typeof__(x))(a)-1))

#endif
