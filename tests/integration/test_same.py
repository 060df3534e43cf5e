# SPDX-License-Identifier: Apache-2.0
"""The same program without the agent, and under it while a 1000 Hz profile, heap samples of every kilobyte
and all contention are taken: same output, same exit status. For the ways out of a function that an
unwinder could break: exceptions across languages, pthread_exit, cancellation, panics, small stacks."""
import re
import subprocess
import threading

import lib
from lib import App, environment, equal, limit, long, needs, note, parallel, program, scratch


def profiled(argv, cwd=None, seconds=100, **settings):
    """(status, stdout, stderr) of a run that is profiled from its beginning to its end; samples seen."""
    settings = {"memprofilerate": 1024, "mutexprofilefraction": 1, "blockprofilerate": 1, **settings}
    app = App(*argv, cwd=cwd, **settings)
    seen, done = 0, []
    reader = threading.Thread(target=lambda: done.append(app.process.communicate(timeout=seconds)))
    reader.start()
    while reader.is_alive():
        try:
            answer = app.get("profile", seconds=1, hz=1000)
            equal(answer.status, 200, "the profile")
            seen += sum(s.values[0] for s in lib.decoded(answer.body).samples)
        except (OSError, lib.http.client.HTTPException):
            # the program ended, and the profile with it
            reader.join(20)
            assert not reader.is_alive(), "the agent does not answer, and the program goes on"
    return (app.process.returncode, *done[0]), seen


def same(what, argv, least=200, cwd=None, said=None):
    plain = subprocess.run([str(a) for a in argv], env=environment(), cwd=cwd, capture_output=True, timeout=100)
    got, samples = profiled(argv, cwd)
    note(f"{what}: {samples} samples, status {plain.returncode}")
    # process and thread numbers in messages differ from run to run
    results = [(r[0], r[1], re.sub(rb"\d+", b"N", r[2])) for r in ((plain.returncode, plain.stdout, plain.stderr), got)]
    equal(results[1], results[0], f"{what} under the agent")
    if said:
        assert said in plain.stdout + plain.stderr, plain
    assert samples >= least, f"{what}: only {samples} samples"


@parallel
@limit(120)
def test_rust_panics_and_stack_overflow():
    """Panics, caught and not; the library's report of an overflow runs on the thread's alternate stack."""
    same("Rust", [program("rust_stacks"), "overflow"], said=b"has overflowed its stack")


THROWER = r"""
#include <pthread.h>
#include <semaphore.h>
#include <stdexcept>
#include <string>
#include <cstdio>
extern "C" { typedef int (*call_t)(int); int through_c(call_t f, int n); }
static thread_local int destroyed, alive;
struct Local { Local() { alive++; } ~Local() { alive--; destroyed++; } };
static int thrower(int n) { Local l; if (n % 3 == 0) throw std::runtime_error("e" + std::to_string(n)); return n; }
extern "C" int catcher(int n)
{
	Local l;
	try { return through_c(thrower, n); }
	catch (const std::runtime_error &e) { return (int)std::string(e.what()).size(); }
}
extern "C" int destroyed_here(void) { return destroyed; }
static int leave(int n) { Local l; if (n == 0) pthread_exit((void *)(long)destroyed); return n; }
static int wait_here(int kind)
{
	static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
	static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
	static sem_t sem;
	Local l;
	switch (kind % 3) {
	case 0: pthread_testcancel(); return kind;
	case 1: sem_wait(&sem); return kind;
	default: pthread_mutex_lock(&mutex);
		struct Unlock { ~Unlock() { pthread_mutex_unlock(&mutex); } } unlock;
		for (;;) pthread_cond_wait(&cond, &mutex);
	}
}
/* cancelled in the middle: every Local is destroyed, by the same unwinding that exceptions use */
extern "C" void waiter(int kind) { Local l; for (;;) { Local each; try { through_c(wait_here, kind); } catch (const std::exception &) { } } }
extern "C" int alive_here(void) { return alive; }
extern "C" void leaver(int n) { Local l; for (;;) { Local each; through_c(leave, n--); } }
"""
CALLER = r"""
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>
typedef int (*call_t)(int);
__attribute__((noinline)) int through_c(call_t f, int n) { char room[200]; memset(room, n, sizeof(room)); return f(n) + room[n % 200] * 0; }
static int (*catcher)(int);
static int (*destroyed_here)(void);
static void (*leaver)(int);
static void *catches(void *arg)
{
	long sum = 0;
	for (int i = 0; i < 400000; i++) { sum += catcher(i); if (i % 50 == 0) free(malloc(100 + i % 5000)); }
	if (!arg) printf("%ld %d\n", sum, destroyed_here());
	return NULL;
}
static void *leaves(void *arg) { leaver(100); return NULL; }
static void (*waiter)(int);
static int (*alive_here)(void);
static int cleaned, left_alive;
static void look(void *arg) { __atomic_add_fetch(&cleaned, 1, 5); __atomic_add_fetch(&left_alive, alive_here(), 5); free(malloc(300)); }
static void *waits(void *arg) { pthread_cleanup_push(look, NULL); waiter((int)(long)arg); pthread_cleanup_pop(0); return NULL; }
static void *find(void *from, const char *name)
{
	void *at = dlsym(from, name);
	if (!at) { puts(dlerror()); exit(3); }
	return at;
}
int main(int argc, char **argv)
{
	void *from = argc > 1 ? dlopen(argv[1], RTLD_NOW) : RTLD_DEFAULT;
	pthread_t t;
	void *result;
	catcher = (int (*)(int))find(from, "catcher");
	destroyed_here = (int (*)(void))find(from, "destroyed_here");
	leaver = (void (*)(int))find(from, "leaver");
	waiter = (void (*)(int))find(from, "waiter");
	alive_here = (int (*)(void))find(from, "alive_here");
	for (int i = 0; i < 2; i++) { pthread_create(&t, NULL, catches, NULL); pthread_join(t, NULL); }
	/* and on without a word, until profiles of a second each have seen it on any machine */
	for (time_t end = time(NULL) + 4; time(NULL) < end;) { pthread_create(&t, NULL, catches, ""); pthread_join(t, NULL); }
	for (int i = 0; i < 200; i++) { pthread_create(&t, NULL, leaves, NULL); pthread_join(t, &result); if (i % 50 == 0) printf("left %ld\n", (long)result); }
	int cancelled = 0;
	for (int i = 0; i < 600; i++) {
		pthread_create(&t, NULL, waits, (void *)(long)i);
		if (i % 2) nanosleep(&(struct timespec){ 0, 100000 }, NULL);
		pthread_cancel(t); pthread_join(t, &result); cancelled += result == PTHREAD_CANCELED;
	}
	printf("%d cancelled, %s, %d objects left\n", cancelled, cleaned == 600 ? "cleaned" : "not cleaned", left_alive);
	return 7;
}
"""


def c_and_cpp():
    """A program in C, once linked with a C++ library, once loading it."""
    gcc, gxx = needs("gcc", "g++")
    directory = scratch()
    (directory / "caller.c").write_text(CALLER)
    (directory / "thrower.cc").write_text(THROWER)
    for argv in ([gxx, "-O2", "-fPIC", "-shared", "-o", "libthrower.so", "thrower.cc"],
                 [gcc, "-O2", "-fexceptions", "-rdynamic", "-o", "linked", "caller.c", "-Wl,--no-as-needed", "./libthrower.so", "-lpthread", "-ldl"],
                 [gcc, "-O2", "-fexceptions", "-rdynamic", "-o", "loads", "caller.c", "-lpthread", "-ldl"]):
        subprocess.run(argv, check=True, cwd=directory, env=environment(), timeout=60)
    return directory


@parallel
@limit(120)
def test_exceptions_through_c_and_pthread_exit():
    directory = c_and_cpp()
    same("C that loads a C++ library", [directory / "loads", directory / "libthrower.so"], least=50, cwd=directory,
         said=b"600 cancelled, cleaned, 0 objects left")


@long
@limit(120)
def test_exceptions_of_a_linked_library():
    directory = c_and_cpp()
    same("C with a C++ library", [directory / "linked"], least=50, cwd=directory, said=b"600 cancelled, cleaned, 0 objects left")


CANCEL = r"""
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static sem_t sem, started;
static int cleaned, pipes[2];
static volatile uint64_t sink;
static void clean(void *arg) { cleaned++; if (arg) pthread_mutex_unlock(arg); free(malloc(300)); }
static void burn(void) { for (int i = 0; i < 200000; i++) sink = sink * 31 + 1; }
static void *waits(void *arg)
{
	long kind = (long)arg;
	char byte;
	if (kind == 3) pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
	if (kind == 0) pthread_mutex_lock(&mutex);
	pthread_cleanup_push(clean, kind == 0 ? &mutex : NULL);
	sem_post(&started);
	for (;;) {
		if (kind == 0) pthread_cond_wait(&cond, &mutex);
		if (kind == 1) sem_wait(&sem);
		if (kind == 2) (void)!read(pipes[0], &byte, 1);
		if (kind == 3) sink++;
		if (kind == 4) { burn(); pthread_testcancel(); }
	}
	pthread_cleanup_pop(1);
	return NULL;
}
int main(void)
{
	int cancelled = 0;
	if (pipe(pipes)) return 2;
	sem_init(&sem, 0, 0); sem_init(&started, 0, 0);
	for (time_t end = time(NULL) + 4; time(NULL) < end;) burn();
	for (long i = 0; i < 5000; i++) {
		pthread_t t;
		void *result;
		if (pthread_create(&t, NULL, waits, (void *)(i % 5))) return 3;
		sem_wait(&started);
		burn();
		pthread_cancel(t);
		pthread_join(t, &result);
		cancelled += result == PTHREAD_CANCELED;
	}
	printf("%d cancelled, %d cleaned, mutex %s\n", cancelled, cleaned, pthread_mutex_trylock(&mutex) ? "held" : "free");
	return 5;
}
"""


@parallel
@limit(120)
def test_cancellation():
    gcc = needs("gcc")
    directory = scratch()
    (directory / "cancel.c").write_text(CANCEL)
    subprocess.run([gcc, "-O2", "-o", "cancel", "cancel.c", "-lpthread"], check=True, cwd=directory, env=environment(), timeout=60)
    same("cancellation", [directory / "cancel"], least=50, said=b"5000 cancelled, 5000 cleaned, mutex free")


# ---------------------------------------------------------------- storms through the library

def storm(seconds, *kinds):
    """The unwinder's own storm (which samples and walks for itself), with all of the agent's profiles beside it."""
    path = lib.BUILD / "tests/storm"
    (status, out, err), samples = profiled([path, seconds, *kinds], seconds=seconds + 100)
    note(f"{samples} samples of ours beside: {out.decode().splitlines()[0] if out else err}")
    equal(status, 0, f"storm {out!r} {err!r}")
    assert samples > 50 * seconds / 4, samples


@parallel
@limit(120)
def test_storm_under_the_agent():
    storm(5)


@long
@limit(900)
def test_long_storm_under_the_agent():
    storm(600)
