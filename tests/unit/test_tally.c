/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "agent/base/sys.h"
#include "agent/collect/snapshot.h"
#include "agent/collect/stacks.h"
#include "agent/collect/tally.h"
#include "agent/collect/task.h"
#include "tests/unit/test.h"

static const struct stack *stack_of(uintptr_t pc)
{
	return stacks_intern(&pc, 1, 0);
}

TEST(tally_adds_up)
{
	struct tally *tally = tally_new();
	struct snapshot *s;
	int64_t looks = 0, ns = 0;

	for (unsigned round = 0; round < 3; round++)
		for (unsigned i = 0; i < 5000; i++)
			CHECK(tally_add(tally, stack_of(0x1000 + i / 5 * 16), i % 5, 1, i));
	s = tally_end(tally);
	CHECK_INT(s->n, 5000);
	CHECK(!s->incomplete);
	for (size_t i = 0; i < s->n; i++) {
		CHECK_INT(s->samples[i].value[0], 3);
		looks += s->samples[i].value[0];
		ns += s->samples[i].value[1];
	}
	CHECK_INT(looks, 15000);
	CHECK_INT(ns, 3 * 4999 * 2500);
	snapshot_drop(s);
}

TEST(snapshot_folds_tags)
{
	struct tally *tally = tally_new();
	struct snapshot *s;

	for (unsigned tag = 0; tag < 40; tag++)
		for (unsigned i = 0; i < 10; i++)
			tally_add(tally, stack_of(0x2000 + i * 16), tag, 1, tag);
	s = tally_end(tally);
	CHECK(snapshot_fold_tags(s));
	CHECK_INT(s->n, 10);
	for (size_t i = 0; i < s->n; i++) {
		CHECK_INT(s->samples[i].tag, 0);
		CHECK_INT(s->samples[i].value[0], 40);
		CHECK_INT(s->samples[i].value[1], 40 * 39 / 2);
	}
	snapshot_drop(s);
}

/* Names of any bytes, brackets and line ends among them. */
TEST(task_facts_of_odd_names)
{
	static const char *const names[] = { "plain", "a) S (b", ") R", "\n\\\n", "\xff\x01", "123456789012345" };
	int directory = task_directory();
	struct task_facts facts;

	CHECK(directory >= 0);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		prctl(PR_SET_NAME, names[i]);
		CHECK_INT(task_facts(directory, sys_gettid(), &facts), 0);
		CHECK(!strcmp(facts.name, names[i]));
		CHECK_INT(facts.state, 'R');
	}
	CHECK(task_facts(directory, 1 << 22, &facts) < 0);
	sys_close(directory);
}

static void *stay(void *arg)
{
	int *tid = arg;
	char c;

	__atomic_store_n(&tid[0], sys_gettid(), __ATOMIC_SEQ_CST);
	while (read(tid[1], &c, 1) == 1)
		;
	return NULL;
}

/* The stamp of a sleeping thread stays, and moves with each time that it runs. */
TEST(task_stamp_sees_a_thread_run)
{
	int directory = task_directory(), pipes[2], shared[2] = { 0 };
	struct task_facts facts = { .state = 'R' };
	pthread_t thread;
	uint64_t last = 0, now;

	CHECK(pipe(pipes) == 0);
	shared[1] = pipes[0];
	pthread_create(&thread, NULL, stay, shared);
	for (int i = 0; i < 50; i++) {
		int unread = 1;

		do {
			usleep(500);
			ioctl(pipes[0], FIONREAD, &unread);
			task_facts(directory, __atomic_load_n(&shared[0], __ATOMIC_SEQ_CST), &facts);
		} while (unread || facts.state != 'S');
		now = task_stamp(directory, shared[0]);
		CHECK(now > last);
		usleep(500);
		CHECK_INT(task_stamp(directory, shared[0]), now);
		last = now;
		CHECK(write(pipes[1], "x", 1) == 1);
	}
	close(pipes[1]);
	pthread_join(thread, NULL);
	sys_close(directory);
}
