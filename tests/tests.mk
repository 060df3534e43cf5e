# SPDX-License-Identifier: Apache-2.0
# Tests and benchmarks: included by the Makefile.

TEST_CFLAGS := -std=gnu17 -O1 -g -D_GNU_SOURCE -I. -Iagent/arch/$(ARCH) -I$(BUILD)/gen -Wall -Wextra -Wno-unused-parameter -MMD -MP
UNIT_SRC := $(wildcard tests/unit/*.c)
UNIT_OBJ := $(UNIT_SRC:%.c=$(BUILD)/obj/%.o)
# Unit tests link the modules, never the hooks: sanitizers keep their own malloc.
UNIT_LIB_OBJ := $(filter $(addprefix $(BUILD)/obj/,agent/base/% agent/collect/% agent/http/% encode/% gen/% \
	agent/options.o agent/launchers.o agent/inherit.o),$(OBJ))

RUN_TESTS = BUILD="$(abspath $(BUILD))" CC="$(CC)" python3 tests/integration/run.py
CHECKS := check-static check-unit check-integration check-real

.PHONY: check check-long $(CHECKS)

# Every suite runs, whatever the one before it says.
check: all ## everything that must pass before a commit
	@failed=; for suite in $(CHECKS); do $(MAKE) --no-print-directory $$suite || failed="$$failed $$suite"; done; \
	if [ -n "$$failed" ]; then echo "check: failed:$$failed"; exit 1; fi

check-long: all programs cookbook ## the storms and repetitions that take long
check-long: all programs $(BUILD)/tests/storm ## the storms and repetitions that take long
	$(Q)$(RUN_TESTS) --name long --long tests/integration tests/real $(if $(TEST),-k $(TEST))

.PHONY: check-trace-seeds
check-long: check-trace-seeds
SAN := -fsanitize=address,undefined -fno-sanitize-recover=all
check-trace-seeds: ## traces of random records, 4000 seeds, under sanitizers
	$(Q)$(MAKE) --no-print-directory BUILD=$(BUILD)/san CFLAGS="$(SAN)" LDFLAGS="$(SAN)" $(BUILD)/san/tests/unit
	$(Q)mkdir -p $(BUILD)/san/seeds && TRACE_SEEDS=4000 TRACE_FILES=$(BUILD)/san/seeds $(BUILD)/san/tests/unit trace

check-static: all programs ## layers, signal safety, exports, documents, and that these checks see planted faults
	$(Q)failed=0; \
	scripts/check-layers || failed=$$((failed + 1)); \
	scripts/check-sigsafe --obj $(BUILD)/obj || failed=$$((failed + 1)); \
	scripts/check-exports --lib $(LIB) --cc "$(CC)" || failed=$$((failed + 1)); \
	scripts/check-docs || failed=$$((failed + 1)); \
	echo "checks: $$((4 - failed)) passed, $$failed failed, 0 skipped"; \
	$(RUN_TESTS) --name static tests/static && [ $$failed = 0 ]

check-integration: all programs cookbook ## tests from outside: programs under the agent, HTTP, go tool (TEST=word)
check-integration: all programs $(BUILD)/tests/storm ## tests from outside: programs under the agent, HTTP, go tool (TEST=word)
	$(Q)$(RUN_TESTS) --name integration tests/integration $(if $(TEST),-k $(TEST))

check-real: all programs ## stock programs of the distribution under the agent (TEST=word)
	$(Q)$(RUN_TESTS) --name real tests/real $(if $(TEST),-k $(TEST))

check-unit: $(BUILD)/tests/unit ## unit tests
	$(Q)$(BUILD)/tests/unit $(UNIT)

$(BUILD)/tests/unit: $(UNIT_OBJ) $(UNIT_LIB_OBJ)
	$(call say,LINK,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(OWN_LIBS) -lm -ldl -lpthread

$(BUILD)/obj/tests/%.o: tests/%.c | $(GEN)
	$(call say,CC,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(TEST_CFLAGS) $(CFLAGS) -c -o $@ $<

# One small program per behaviour. "/* CFLAGS: ... */" and "/* LDLIBS: ... */" lines in a program's
# first ten lines add flags.
PROGRAM_SRC := $(wildcard tests/programs/*.c tests/programs/*.cc tests/programs/*.rs)
PROGRAMS := $(patsubst tests/programs/%,$(BUILD)/tests/programs/%,$(basename $(PROGRAM_SRC)))
LIBRARIES := $(patsubst tests/libraries/%.c,$(BUILD)/tests/libraries/%.so,$(wildcard tests/libraries/*.c))
.PHONY: programs
programs: $(PROGRAMS) $(LIBRARIES) ## the test programs, and libraries for them

$(BUILD)/tests/libraries/%.so: tests/libraries/%.c
	$(call say,CC,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) -shared -fPIC -std=gnu17 -O2 -g -D_GNU_SOURCE -Wall -Wextra -Wno-unused-parameter $$(sed -n '1,10s/.*CFLAGS: \([^*]*\).*/\1/p' $<) -o $@ $< $$(sed -n '1,10s/.*LDLIBS: \([^*]*\).*/\1/p' $<) -lpthread -ldl

$(BUILD)/tests/programs/%: tests/programs/%.c
	$(call say,CC,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) -std=gnu17 -O2 -g -D_GNU_SOURCE -Wall -Wextra -Wno-unused-parameter $$(sed -n '1,10s/.*CFLAGS: \([^*]*\).*/\1/p' $<) -o $@ $< $$(sed -n '1,10s/.*LDLIBS: \([^*]*\).*/\1/p' $<) -lpthread -ldl

$(BUILD)/tests/programs/%: tests/programs/%.cc
	$(call say,CXX,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(CXX) -std=gnu++17 -O2 -g -Wall -Wextra -Wno-unused-parameter $$(sed -n '1,10s/.*CFLAGS: \([^*]*\).*/\1/p' $<) -o $@ $< $$(sed -n '1,10s/.*LDLIBS: \([^*]*\).*/\1/p' $<) -lpthread -ldl

$(BUILD)/tests/programs/%: tests/programs/%.rs
	$(call say,RUSTC,$<)
	$(Q)mkdir -p $(@D)
	$(Q)rustc --edition 2021 -O -g -o $@ $<

$(BUILD)/tests/programs/every_wait: $(wildcard tests/programs/every_wait_*.h)

-include $(UNIT_OBJ:.o=.d)

-include $(wildcard tests/*/*.mk)

# ---- the unwinder: against libunwind, over random stacks, in storms; its cost
.PHONY: check-oracle check-unwind check-unwind-long fuzz-eh-frame bench-unwind
CHECKS += check-oracle check-unwind
check-long: check-unwind-long
UNWIND := dwarf_expr ehframe ehrun unwind unwind_guess unwind_rule unwind_step
UNWIND_SRC := $(patsubst %,agent/collect/%.c,$(UNWIND) unwind_stack unwind_remote modules) $(wildcard agent/base/*.c)
UNWIND_OBJ := $(patsubst %,$(BUILD)/obj/agent/collect/%.o,$(UNWIND)) \
	$(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard agent/base/*.c))
UNWIND_SAN := $(TEST_CFLAGS) -DVERSION='"$(VERSION)"' -ftls-model=initial-exec -fno-omit-frame-pointer \
	-fsanitize=address,undefined -fno-sanitize-recover=all
ORACLE_LIBS := libc.so.6 libstdc++.so.6 libcrypto.so.3 libLLVM-14.so.1
ORACLE_FILES ?= $(wildcard $(foreach d,/lib/x86_64-linux-gnu /usr/lib/x86_64-linux-gnu /lib64 /usr/lib64,$(ORACLE_LIBS:%=$(d)/%)) \
	/lib64/ld-linux-x86-64.so.2 /usr/bin/python3 /usr/bin/node /usr/bin/perl /usr/bin/redis-server /usr/sbin/nginx)
WALKS ?= 3000000

check-oracle: $(BUILD)/tests/oracle ## every row of the unwind tables of ORACLE_FILES against libunwind's step
	$(Q)$(BUILD)/tests/oracle $(sort $(realpath $(ORACLE_FILES)))

check-unwind: $(BUILD)/tests/walks $(BUILD)/tests/replay_eh_frame $(BUILD)/tests/storm ## random walks (WALKS=n), fuzz corpus, a minute of storm
	$(Q)$(BUILD)/tests/replay_eh_frame tests/fuzz/corpus/eh_frame
	$(Q)$(BUILD)/tests/walks $(WALKS)
	$(Q)$(BUILD)/tests/storm 30 && $(BUILD)/tests/storm 15 dl throw && $(BUILD)/tests/storm 15 iterate fork threads

check-unwind-long: $(BUILD)/tests/storm $(BUILD)/tests/walks
	$(Q)$(BUILD)/tests/storm 600
	$(Q)$(BUILD)/tests/walks 30000000

bench-unwind: $(BUILD)/tests/bench_unwind ## ns per frame: ours, frame pointers, glibc, libunwind; handler stack
	$(Q)$(BUILD)/tests/bench_unwind

fuzz-eh-frame: $(BUILD)/tests/fuzz_eh_frame ## libFuzzer on the unwind table parser (FUZZ_SECONDS=60)
	$(Q)mkdir -p $(BUILD)/fuzz/eh_frame
	$(Q)$(BUILD)/tests/fuzz_eh_frame -max_len=1024 -timeout=5 -max_total_time=$(or $(FUZZ_SECONDS),60) \
		-artifact_prefix=$(BUILD)/fuzz/ $(BUILD)/fuzz/eh_frame tests/fuzz/corpus/eh_frame

$(BUILD)/tests/oracle: $(BUILD)/obj/tests/unwind/oracle.o $(UNWIND_OBJ) $(BUILD)/obj/agent/collect/modules.o
	$(call say,LINK,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ -lunwind-x86_64 -lpthread

$(BUILD)/tests/bench_unwind: $(BUILD)/obj/tests/bench/bench_unwind.o $(UNWIND_OBJ) $(BUILD)/obj/agent/collect/unwind_stack.o
	$(call say,LINK,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ -lunwind -ldl -lpthread

# With sanitizers everything is compiled anew.
$(BUILD)/tests/walks: tests/unwind/walks.c $(UNWIND_SRC)
	$(call say,CC,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(UNWIND_SAN) $(CFLAGS) -o $@ $(filter %.c,$^) -ldl -lpthread

$(BUILD)/tests/replay_eh_frame: tests/fuzz/replay.c tests/fuzz/fuzz_eh_frame.c $(UNWIND_SRC)
	$(call say,CC,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(UNWIND_SAN) $(CFLAGS) -o $@ $(filter %.c,$^) -ldl -lpthread

$(BUILD)/tests/fuzz_eh_frame: tests/fuzz/fuzz_eh_frame.c $(UNWIND_SRC)
	$(call say,CC,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CLANG) $(UNWIND_SAN) -fsanitize=fuzzer -o $@ $(filter %.c,$^) -ldl -lpthread

$(BUILD)/tests/swap_a.so: OWN_FRAME := 200
$(BUILD)/tests/swap_b.so: OWN_FRAME := 400
$(BUILD)/tests/swap_a.so $(BUILD)/tests/swap_b.so: tests/unwind/swap.c
	$(call say,CC,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) -O2 -fPIC -shared -fvisibility=hidden -DFRAME=$(OWN_FRAME) -o $@ $<

$(BUILD)/tests/storm: $(BUILD)/obj/tests/unwind/storm.o tests/unwind/throw.cc $(UNWIND_OBJ) \
		$(BUILD)/obj/agent/collect/unwind_stack.o $(BUILD)/obj/agent/collect/modules.o | $(BUILD)/tests/swap_a.so $(BUILD)/tests/swap_b.so
	$(call say,LINK,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CXX) -O2 -no-pie $(LDFLAGS) -o $@ $^ -ldl -lpthread

$(BUILD)/obj/tests/bench/bench_unwind.o $(BUILD)/obj/tests/unwind/oracle.o: TEST_CFLAGS += -O2

.PHONY: bench bench-start
bench: bench-start bench-unwind bench-malloc bench-lock bench-trace bench-hostile ## all benchmarks: the tables of docs/performance.md
bench: bench-start bench-unwind bench-malloc bench-lock bench-real ## all benchmarks: the tables of docs/performance.md
bench: bench-start bench-unwind bench-malloc bench-lock bench-symbols ## all benchmarks: the tables of docs/performance.md

.PHONY: bench-symbols
bench-symbols: all ## what files, lines and inlined functions cost (MIB=200 of debug information in the largest program)
	$(Q)BUILD="$(abspath $(BUILD))" python3 tests/bench/symbols.py $(or $(MIB),200)

bench-start: all programs ## what the agent adds to 200 short children of a shell
	$(Q)python3 tests/bench/start.py $(BUILD) $(ROUNDS)
# Benchmarks: figures, not judgements. ROUNDS=n, and PPROF_NAME=value words in SETTINGS.
.PHONY: bench-real
bench-real: all ## what the idle agent costs real programs (ROUNDS=15, WORD=name)
	$(Q)BUILD="$(BUILD)" python3 tests/bench/real.py $(or $(ROUNDS),15) $(WORD)

.PHONY: bench-lock
bench-lock: all $(BUILD)/tests/bench/locks ## what locks cost under the agent, against the bare program
	$(Q)BUILD="$(BUILD)" python3 tests/bench/locks.py $(or $(ROUNDS),9) $(SETTINGS)

.PHONY: bench-trace
bench-trace: all $(BUILD)/tests/bench/bench_trace ## what execution traces cost: hooks, redis under load, a million events (ROUNDS=n)
	$(Q)python3 tests/bench/trace.py $(BUILD) $(or $(ROUNDS),9)

.PHONY: bench-hostile
bench-hostile: all $(BUILD)/tests/bench/units ## what a crowd of hostile clients costs the program (ROUNDS=7)
	$(Q)BUILD="$(BUILD)" python3 tests/bench/hostile.py $(ROUNDS)

# Benchmarks: figures, no verdict. Each program's first comment says what it measures.
.PHONY: bench-malloc
bench-malloc: all $(BUILD)/tests/bench/bench_malloc ## what the hooks add to malloc and free (ROUNDS=1000)
	$(Q)PPROF_ADDR=127.0.0.1:0 LD_PRELOAD="$(abspath $(LIB))" $(BUILD)/tests/bench/bench_malloc $(ROUNDS)

$(BUILD)/tests/bench/%: tests/bench/%.c
	$(call say,CC,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) -std=gnu17 -O2 -g -D_GNU_SOURCE -Wall -Wextra -Wno-unused-parameter -o $@ $< -lpthread
	$(Q)$(CC) -std=gnu17 -O2 -g -D_GNU_SOURCE -fno-builtin -Wall -Wextra -Wno-unused-parameter -o $@ $< -lpthread -ldl

.PHONY: check-mutants
check-long: check-mutants
check-mutants: all programs ## each rule of tests/mutants switched off: its test must fail (MUTANT=word)
	$(Q)BUILD="$(BUILD)" python3 tests/mutants/run.py $(MUTANT)
