/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The waits of glib, 30 ms each, one function for each: their names are what profiles must show. Its functions are
 * declared here and looked for when it starts, so that glib's headers need not be there. Prints "done" (or "no
 * glib"), waits for a line, ends.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline, noclone))
/* asm: the call must not be the last thing, a jump would leave no frame */
#define END __asm__ volatile("")

/* What glib's ABI lays down: a word or a pointer, and two words for what is not to be looked at; all 0 at first. */
typedef union {
	void *p;
	unsigned i[2];
} GMutex;
typedef struct {
	void *p;
	unsigned i[2];
} GCond, GRWLock, GRecMutex;

static void (*g_mutex_lock)(GMutex *), (*g_mutex_unlock)(GMutex *);
static void (*g_rec_mutex_lock)(GRecMutex *), (*g_rec_mutex_unlock)(GRecMutex *);
static void (*g_cond_wait)(GCond *, GMutex *), (*g_cond_signal)(GCond *);
static int (*g_cond_wait_until)(GCond *, GMutex *, int64_t);
static int64_t (*g_get_monotonic_time)(void);
static void (*g_rw_lock_writer_lock)(GRWLock *), (*g_rw_lock_writer_unlock)(GRWLock *);
static void (*g_rw_lock_reader_lock)(GRWLock *), (*g_rw_lock_reader_unlock)(GRWLock *);
static void *(*g_thread_new)(const char *, void *(*)(void *), void *);
static void *(*g_thread_join)(void *);
static void *(*g_async_queue_new)(void), *(*g_async_queue_pop)(void *);
static void (*g_async_queue_push)(void *, void *);

static const struct {
	const char *name;
	void *at;
} functions[] = {
#define F(name) { #name, &name }
	F(g_mutex_lock), F(g_mutex_unlock), F(g_rec_mutex_lock), F(g_rec_mutex_unlock), F(g_cond_wait),
	F(g_cond_signal), F(g_cond_wait_until), F(g_get_monotonic_time), F(g_rw_lock_writer_lock),
	F(g_rw_lock_writer_unlock), F(g_rw_lock_reader_lock), F(g_rw_lock_reader_unlock), F(g_thread_new),
	F(g_thread_join), F(g_async_queue_new), F(g_async_queue_pop), F(g_async_queue_push),
};

static GMutex mutex, of_cond;
static GRecMutex recursive;
static GCond cond;
static GRWLock rwlock;
static void *queue;
static _Atomic int held, coming, ready;

static NOINLINE void hold(void)
{
	held = 1;
	while (!coming)
		usleep(1000);
	usleep(30000);
}

static NOINLINE void holds_mutex(void) { g_mutex_lock(&mutex), hold(), g_mutex_unlock(&mutex); END; }
static NOINLINE void waits_for_mutex(void) { g_mutex_lock(&mutex), g_mutex_unlock(&mutex); END; }
static NOINLINE void holds_recursive(void) { g_rec_mutex_lock(&recursive), hold(), g_rec_mutex_unlock(&recursive); END; }
static NOINLINE void waits_for_recursive(void) { g_rec_mutex_lock(&recursive), g_rec_mutex_unlock(&recursive); END; }
static NOINLINE void writes(void) { g_rw_lock_writer_lock(&rwlock), hold(), g_rw_lock_writer_unlock(&rwlock); END; }
static NOINLINE void waits_to_read(void) { g_rw_lock_reader_lock(&rwlock), g_rw_lock_reader_unlock(&rwlock); END; }
static NOINLINE void reads(void) { g_rw_lock_reader_lock(&rwlock), hold(), g_rw_lock_reader_unlock(&rwlock); END; }
static NOINLINE void waits_to_write(void) { g_rw_lock_writer_lock(&rwlock), g_rw_lock_writer_unlock(&rwlock); END; }
static NOINLINE void signals(void)
{
	hold();
	g_mutex_lock(&of_cond);
	ready = 1;
	g_cond_signal(&cond);
	g_mutex_unlock(&of_cond);
}
static NOINLINE void waits_for_cond(void)
{
	g_mutex_lock(&of_cond);
	while (!ready)
		g_cond_wait(&cond, &of_cond);
	g_mutex_unlock(&of_cond);
}
static NOINLINE void pushes(void) { hold(), g_async_queue_push(queue, queue); END; }
static NOINLINE void waits_for_queue(void) { g_async_queue_pop(queue); END; }
static NOINLINE void waits_for_time(void)
{
	g_mutex_lock(&mutex);
	while (g_cond_wait_until(&cond, &mutex, g_get_monotonic_time() + 30000))
		;
	g_mutex_unlock(&mutex);
}
static NOINLINE void *sleeps(void *arg) { return usleep(30000), arg; }
static NOINLINE void waits_for_thread(void) { g_thread_join(g_thread_new("sleeps", sleeps, NULL)); END; }

static NOINLINE void *runs(void *function)
{
	((void (*)(void))function)();
	return NULL;
}

static void contend(void (*holder)(void), void (*waiter)(void))
{
	void *thread;

	held = coming = 0;
	thread = g_thread_new("holder", runs, (void *)holder);
	while (!held)
		usleep(1000);
	coming = 1;
	waiter();
	g_thread_join(thread);
}

int main(void)
{
	void *glib = dlopen("libglib-2.0.so.0", RTLD_NOW);

	for (size_t i = 0; glib && i < sizeof(functions) / sizeof(functions[0]); i++)
		if (!(*(void **)functions[i].at = dlsym(glib, functions[i].name)))
			glib = NULL;
	if (glib) {
		queue = g_async_queue_new();
		contend(holds_mutex, waits_for_mutex);
		contend(holds_recursive, waits_for_recursive);
		contend(writes, waits_to_read);
		contend(reads, waits_to_write);
		contend(signals, waits_for_cond);
		contend(pushes, waits_for_queue);
		waits_for_time();
		waits_for_thread();
	}
	puts(glib ? "done" : "no glib");
	fflush(stdout);
	getchar();
	return 0;
}
