# SPDX-License-Identifier: Apache-2.0
# Fuzzing: every tests/fuzz/fuzz_NAME.c is a target with the corpus tests/fuzz/corpus/NAME/ (the
# unwinder's has other needs and its own rules in tests.mk).
# `make fuzz` needs clang; `make check-fuzz` replays the corpora with the ordinary compiler.

FUZZ_SECONDS ?= 60
FUZZ ?= $(FUZZ_NAMES)
FUZZ_ROOMS := agent/base agent/http
FUZZ_NAMES := $(filter-out eh_frame,$(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c)))
# The allocator is tests/fuzz/host_mem.c, so that the sanitizer sees every block.
FUZZ_SRC := $(filter-out agent/base/mem.c,$(wildcard $(FUZZ_ROOMS:%=%/*.c))) tests/fuzz/host_mem.c
FUZZ_CFLAGS := -std=gnu17 -O1 -g -D_GNU_SOURCE -DVERSION='"$(VERSION)"' -I. -Iagent/arch/$(ARCH) \
	-fno-omit-frame-pointer -fno-sanitize-recover=all -fno-strict-aliasing -MMD -MP
SANITIZE := -fsanitize=fuzzer-no-link,address,undefined

.PHONY: fuzz check-fuzz
CHECKS += check-fuzz

fuzz: $(FUZZ_NAMES:%=$(BUILD)/fuzz/%) ## fuzz each target for FUZZ_SECONDS (60); FUZZ=name for one
	$(Q)for name in $(FUZZ); do \
		mkdir -p $(BUILD)/fuzz/new/$$name; \
		echo "fuzz: $$name for $(FUZZ_SECONDS) s"; \
		$(BUILD)/fuzz/$$name -max_total_time=$(FUZZ_SECONDS) -timeout=5 -rss_limit_mb=1024 -max_len=9000 \
			-dict=tests/fuzz/http.dict -print_final_stats=1 -artifact_prefix=$(BUILD)/fuzz/ \
			$(BUILD)/fuzz/new/$$name tests/fuzz/corpus/$$name \
			2> $(BUILD)/fuzz/$$name.log || { tail -40 $(BUILD)/fuzz/$$name.log; exit 1; }; \
		grep -E 'number_of_executed|peak_rss|cov:' $(BUILD)/fuzz/$$name.log | tail -3; \
	done

check-fuzz: $(FUZZ_NAMES:%=$(BUILD)/tests/replay-%) ## replay the corpora of the fuzz targets
	$(Q)failed=0; for name in $(FUZZ_NAMES); do \
		$(BUILD)/tests/replay-$$name tests/fuzz/corpus/$$name || { echo "not ok - $$name"; failed=$$((failed + 1)); }; \
	done; echo "fuzz replay: $(words $(FUZZ_NAMES)) targets, $$failed failed"; [ $$failed = 0 ]

$(BUILD)/fuzz/%: $(BUILD)/fuzz/obj/tests/fuzz/fuzz_%.o $(FUZZ_SRC:%.c=$(BUILD)/fuzz/obj/%.o)
	$(call say,LINK,$@)
	$(Q)$(CLANG) -fsanitize=fuzzer,address,undefined -o $@ $^

$(BUILD)/fuzz/obj/%.o: %.c
	$(call say,CLANG,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(CLANG) $(FUZZ_CFLAGS) $(SANITIZE) -c -o $@ $<

$(BUILD)/tests/replay-%: $(BUILD)/obj/tests/fuzz/fuzz_%.o $(BUILD)/obj/tests/fuzz/replay.o $(FUZZ_SRC:%.c=$(BUILD)/obj/%.o)
	$(call say,LINK,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^

.SECONDARY: $(FUZZ_NAMES:%=$(BUILD)/obj/tests/fuzz/fuzz_%.o) $(BUILD)/obj/tests/fuzz/replay.o \
	$(BUILD)/obj/tests/fuzz/host_mem.o $(FUZZ_NAMES:%=$(BUILD)/fuzz/obj/tests/fuzz/fuzz_%.o) \
	$(FUZZ_SRC:%.c=$(BUILD)/fuzz/obj/%.o)
-include $(wildcard $(BUILD)/fuzz/obj/*/*.d $(BUILD)/fuzz/obj/*/*/*.d)
