# SPDX-License-Identifier: Apache-2.0
# The suites of tests/unit, static, integration and real, and what they share: included by the Makefile.
# Other suites and the benchmarks have a .mk in their folders.

TEST_CFLAGS := -std=gnu17 -O1 -g -D_GNU_SOURCE -I. -Iagent/arch/$(ARCH) -I$(BUILD)/gen -Wall -Wextra -Wno-unused-parameter -MMD -MP
UNIT_SRC := $(wildcard tests/unit/*.c)
UNIT_OBJ := $(UNIT_SRC:%.c=$(BUILD)/obj/%.o)
# Unit tests link the modules, never the hooks: sanitizers keep their own malloc.
UNIT_LIB_OBJ := $(filter $(addprefix $(BUILD)/obj/,agent/base/% agent/collect/% agent/http/% encode/% gen/% \
	agent/options.o agent/launchers.o agent/inherit.o),$(OBJ))

RUN_TESTS = BUILD="$(abspath $(BUILD))" CC="$(CC)" python3 tests/integration/run.py

# What judges no time runs side by side, with the compilation of what the other suites need; those then run
# one by one, whatever the ones before them say.
CORES := $(shell nproc 2>/dev/null || echo 1)
CHECKS_BESIDE := check-static check-unit
CHECKS_ALONE := check-integration check-real
TESTED := programs cookbook man $(BUILD)/tests/storm

.PHONY: check check-long $(CHECKS_BESIDE) $(CHECKS_ALONE)

check: all ## everything that must pass before a commit
	@failed=; \
	$(MAKE) --no-print-directory -k $(if $(filter -j%,$(MAKEFLAGS)),,-j$(CORES)) --output-sync=target $(CHECKS_BESIDE) $(TESTED) || \
		failed=" one of $(CHECKS_BESIDE)"; \
	for suite in $(CHECKS_ALONE); do $(MAKE) --no-print-directory $$suite || failed="$$failed $$suite"; done; \
	if [ -n "$$failed" ]; then echo "check: failed:$$failed"; exit 1; fi

check-long: all $(TESTED) $(if $(TEST),,check-long-suites) ## the storms and repetitions that take long (TEST=word: only those tests)
	$(Q)$(RUN_TESTS) --name long --long tests/integration tests/real $(if $(TEST),-k $(TEST))

.PHONY: check-trace-seeds check-long-suites
check-long-suites: check-trace-seeds
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

check-integration: all $(TESTED) ## tests from outside: programs under the agent, HTTP, go tool (TEST=word)
	$(Q)$(RUN_TESTS) --name integration tests/integration $(if $(TEST),-k $(TEST))

check-real: all programs ## stock programs of the distribution under the agent (TEST=word, LONG=1: the long ones too)
	$(Q)$(RUN_TESTS) --name real $(if $(LONG),--long) tests/real $(if $(TEST),-k $(TEST))

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
its = $$(sed -n '1,10s/.*$(1): \([^*]*\).*/\1/p' $<)
PROGRAM_CFLAGS := -O2 -g -D_GNU_SOURCE -Wall -Wextra -Wno-unused-parameter
PROGRAM_SRC := $(wildcard tests/programs/*.c tests/programs/*.cc tests/programs/*.rs)
PROGRAMS := $(patsubst tests/programs/%,$(BUILD)/tests/programs/%,$(basename $(PROGRAM_SRC)))
LIBRARIES := $(patsubst tests/libraries/%.c,$(BUILD)/tests/libraries/%.so,$(wildcard tests/libraries/*.c))
.PHONY: programs
programs: $(PROGRAMS) $(LIBRARIES) ## the test programs, and libraries for them

$(BUILD)/tests/libraries/%.so: tests/libraries/%.c
	$(call say,CC,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) -shared -fPIC -std=gnu17 $(PROGRAM_CFLAGS) $(call its,CFLAGS) -o $@ $< $(call its,LDLIBS) -lpthread -ldl

$(BUILD)/tests/programs/%: tests/programs/%.c
	$(call say,CC,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) -std=gnu17 $(PROGRAM_CFLAGS) $(call its,CFLAGS) -o $@ $< $(call its,LDLIBS) -lpthread -ldl

$(BUILD)/tests/programs/%: tests/programs/%.cc
	$(call say,CXX,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(CXX) -std=gnu++17 $(PROGRAM_CFLAGS) $(call its,CFLAGS) -o $@ $< $(call its,LDLIBS) -lpthread -ldl

$(BUILD)/tests/programs/%: tests/programs/%.rs
	$(call say,RUSTC,$<)
	$(Q)mkdir -p $(@D)
	$(Q)MAKEFLAGS= rustc --edition 2021 -O -g -o $@ $<

$(BUILD)/tests/programs/every_wait: $(wildcard tests/programs/every_wait_*.h)
$(BUILD)/tests/programs/waits: tests/programs/waits_ways.h

.PHONY: check-mutants
check-long-suites: check-mutants
check-mutants: all programs ## each rule of tests/mutants switched off: its test must fail (MUTANT=word)
	$(Q)BUILD="$(BUILD)" python3 tests/mutants/run.py $(MUTANT)

-include $(UNIT_OBJ:.o=.d)

# Suites with programs of their own.
-include $(wildcard tests/*/*.mk)
