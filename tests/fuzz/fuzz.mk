# SPDX-License-Identifier: Apache-2.0
# Fuzzing: every tests/fuzz/fuzz_NAME.c is a target with the corpus tests/fuzz/corpus/NAME/ (the
# unwinder's has other needs and rules of its own in tests/unwind). `make fuzz` searches, with clang's
# libFuzzer; `make check-fuzz` replays the corpora, cut and bent, under the sanitizers of $(CC).

FUZZ_SECONDS ?= 60
FUZZ_NAMES := $(filter-out eh_frame,$(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c)))
FUZZ ?= $(FUZZ_NAMES)
# The allocator is tests/fuzz/host_mem.c, so that the sanitizer sees every block.
FUZZ_SRC := $(filter-out agent/base/mem.c,$(wildcard agent/base/*.c agent/http/*.c encode/*.c)) \
	agent/collect/snapshot.c tests/fuzz/host_mem.c tests/fuzz/double.c
FUZZ_BUILT := $(LIBIBERTY) $(GEN:$(BUILD)/gen/%.c=$(BUILD)/obj/gen/%.o)
FUZZ_CFLAGS := $(OWN_CPPFLAGS) -std=gnu17 -O1 -g -fno-omit-frame-pointer -fno-strict-aliasing \
	-ftls-model=initial-exec -fno-sanitize-recover=all

.PHONY: fuzz check-fuzz
CHECKS_BESIDE += check-fuzz

fuzz: $(FUZZ_NAMES:%=$(BUILD)/fuzz/%) ## fuzz each target for FUZZ_SECONDS (60); FUZZ=name for one
	$(Q)for name in $(FUZZ); do \
		mkdir -p $(BUILD)/fuzz/new/$$name; \
		echo "fuzz: $$name for $(FUZZ_SECONDS) s"; \
		$(BUILD)/fuzz/$$name -max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=1024 -max_len=9000 \
			-dict=tests/fuzz/http.dict -print_final_stats=1 -artifact_prefix=$(BUILD)/fuzz/ \
			$(BUILD)/fuzz/new/$$name tests/fuzz/corpus/$$name \
			2> $(BUILD)/fuzz/$$name.log || { tail -40 $(BUILD)/fuzz/$$name.log; exit 1; }; \
		grep -E 'number_of_executed|peak_rss|cov:' $(BUILD)/fuzz/$$name.log | tail -3; \
	done

check-fuzz: $(FUZZ_NAMES:%=$(BUILD)/tests/replay_%) ## replay the corpora of the fuzz targets under sanitizers
	$(Q)passed=0 failed=0; for name in $(FUZZ_NAMES); do \
		if $(BUILD)/tests/replay_$$name tests/fuzz/corpus/$$name; then passed=$$((passed + 1)); \
		else echo "not ok - $$name"; failed=$$((failed + 1)); fi; \
	done; echo "fuzz: $$passed passed, $$failed failed, 0 skipped"; [ $$failed = 0 ]

$(BUILD)/fuzz/%: $(BUILD)/fuzz/obj/tests/fuzz/fuzz_%.o $(FUZZ_SRC:%.c=$(BUILD)/fuzz/obj/%.o) $(FUZZ_BUILT)
	$(call say,LINK,$@)
	$(Q)$(CLANG) -fsanitize=fuzzer,address,undefined -o $@ $^ $(OWN_LIBS)

$(BUILD)/fuzz/obj/%.o: %.c | $(GEN)
	$(call say,CLANG,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(CLANG) $(FUZZ_CFLAGS) -fsanitize=fuzzer-no-link,address,undefined -c -o $@ $<

$(BUILD)/tests/replay_%: $(BUILD)/san/tests/fuzz/fuzz_%.o $(BUILD)/san/tests/fuzz/replay.o $(FUZZ_SRC:%.c=$(BUILD)/san/%.o) $(FUZZ_BUILT)
	$(call say,LINK,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) -fsanitize=address,undefined $(LDFLAGS) -o $@ $^ $(OWN_LIBS)

$(BUILD)/san/%.o: %.c | $(GEN)
	$(call say,CC,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(FUZZ_CFLAGS) -fsanitize=address,undefined $(CFLAGS) -c -o $@ $<

.SECONDARY:
-include $(wildcard $(BUILD)/fuzz/obj/*/*.d $(BUILD)/fuzz/obj/*/*/*.d $(BUILD)/san/*/*.d $(BUILD)/san/*/*/*.d)
