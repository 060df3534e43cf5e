# SPDX-License-Identifier: Apache-2.0
# One libFuzzer target per parser, tests/fuzz/fuzz_NAME.c with its corpus in tests/fuzz/corpus/NAME.
# check-fuzz replays the corpora under AddressSanitizer and UBSan; fuzz searches (FUZZ=name SECONDS=60).

FUZZ_TARGETS := $(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZ_SECONDS ?= 60
FUZZ_FLAGS := $(OWN_CPPFLAGS) -std=gnu17 -O1 -g -Wall -Wextra -Wno-unused-parameter -fno-sanitize-recover=all
FUZZ_SRC := $(wildcard encode/*.c agent/base/*.c) agent/collect/snapshot.c
FUZZ_BUILT := $(LIBIBERTY) $(BUILD)/obj/gen/encode/profile.pb-c.o

.PHONY: check-fuzz fuzz
CHECKS += check-fuzz

check-fuzz: $(FUZZ_TARGETS:%=$(BUILD)/tests/replay_%) ## every fuzzer's corpus under AddressSanitizer
	$(Q)for name in $(FUZZ_TARGETS); do $(BUILD)/tests/replay_$$name tests/fuzz/corpus/$$name || exit 1; done

fuzz: $(FUZZ_TARGETS:%=$(BUILD)/tests/fuzz_%) ## search for inputs that break a parser (FUZZ=name FUZZ_SECONDS=60)
	$(Q)for name in $(or $(FUZZ),$(FUZZ_TARGETS)); do mkdir -p $(BUILD)/fuzz/$$name; \
	$(BUILD)/tests/fuzz_$$name -max_total_time=$(FUZZ_SECONDS) -rss_limit_mb=512 -timeout=10 -close_fd_mask=0 \
	-artifact_prefix=$(BUILD)/fuzz/ $(BUILD)/fuzz/$$name tests/fuzz/corpus/$$name || exit 1; done

$(BUILD)/tests/fuzz_%: tests/fuzz/fuzz_%.c tests/fuzz/double.c $(FUZZ_SRC) $(FUZZ_BUILT) | $(GEN)
	$(call say,FUZZ,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CLANG) $(FUZZ_FLAGS) -MF $@.d -fsanitize=fuzzer,address,undefined -o $@ $(filter %.c,$^) $(FUZZ_BUILT) $(OWN_LIBS)

$(BUILD)/tests/replay_%: tests/fuzz/fuzz_%.c tests/fuzz/double.c tests/fuzz/replay.c $(FUZZ_SRC) $(FUZZ_BUILT) | $(GEN)
	$(call say,CC,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(FUZZ_FLAGS) -MF $@.d -fsanitize=address,undefined -o $@ $(filter %.c,$^) $(FUZZ_BUILT) $(OWN_LIBS)
