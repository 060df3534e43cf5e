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

check-long: all programs ## the storms and repetitions that take long
	$(Q)$(RUN_TESTS) --name long --long tests/integration tests/real $(if $(TEST),-k $(TEST))

check-static: all ## layers, signal safety, exports, documents, and that these checks see planted faults
	$(Q)failed=0; \
	scripts/check-layers || failed=$$((failed + 1)); \
	scripts/check-sigsafe --obj $(BUILD)/obj || failed=$$((failed + 1)); \
	scripts/check-exports --lib $(LIB) --cc "$(CC)" || failed=$$((failed + 1)); \
	scripts/check-docs || failed=$$((failed + 1)); \
	echo "checks: $$((4 - failed)) passed, $$failed failed, 0 skipped"; \
	$(RUN_TESTS) --name static tests/static && [ $$failed = 0 ]

check-integration: all programs ## tests from outside: programs under the agent, HTTP, go tool (TEST=word)
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
.PHONY: programs
programs: $(PROGRAMS) ## the test programs

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

-include $(UNIT_OBJ:.o=.d)

-include $(wildcard tests/*/*.mk)

# Benchmarks: figures, not judgements. ROUNDS=n, and PPROF_NAME=value words in SETTINGS.
.PHONY: bench-lock
bench-lock: all $(BUILD)/tests/bench/locks ## what locks cost under the agent, against the bare program
	$(Q)BUILD="$(BUILD)" python3 tests/bench/locks.py $(or $(ROUNDS),9) $(SETTINGS)

$(BUILD)/tests/bench/%: tests/bench/%.c
	$(call say,CC,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) -std=gnu17 -O2 -g -D_GNU_SOURCE -Wall -Wextra -Wno-unused-parameter -o $@ $< -lpthread
