# SPDX-License-Identifier: Apache-2.0
# The unwinder alone: against libunwind, over random stacks, in storms; its fuzz target and its cost.

.PHONY: check-oracle check-walks check-storm check-unwind check-unwind-long fuzz-eh-frame
CHECKS_BESIDE += check-oracle check-walks check-storm
check-long-suites: check-unwind-long
UNWIND := dwarf_expr ehframe ehrun unwind unwind_guess unwind_rule unwind_step
UNWIND_SRC := $(patsubst %,agent/collect/%.c,$(UNWIND) unwind_stack unwind_remote modules unloads) $(wildcard agent/base/*.c)
UNWIND_OBJ := $(patsubst %,$(BUILD)/obj/agent/collect/%.o,$(UNWIND)) \
	$(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard agent/base/*.c))
UNWIND_SAN := $(TEST_CFLAGS) -DVERSION='"$(VERSION)"' -ftls-model=initial-exec -fno-omit-frame-pointer \
	-fsanitize=address,undefined -fno-sanitize-recover=all
ORACLE_LIBS := libc.so.6 libstdc++.so.6 libcrypto.so.3 libLLVM-14.so.1
ORACLE_FILES ?= $(wildcard $(foreach d,/lib/x86_64-linux-gnu /usr/lib/x86_64-linux-gnu /lib64 /usr/lib64,$(ORACLE_LIBS:%=$(d)/%)) \
	/lib64/ld-linux-x86-64.so.2 /usr/bin/python3 /usr/bin/node /usr/bin/perl /usr/bin/redis-server /usr/sbin/nginx)
WALKS ?= 3000000
STORM ?= 30

check-oracle: $(BUILD)/tests/oracle ## every row of the unwind tables of ORACLE_FILES against libunwind's step
	$(Q)$(BUILD)/tests/oracle $(sort $(realpath $(ORACLE_FILES)))

check-walks: $(BUILD)/tests/walks $(BUILD)/tests/replay_eh_frame ## random walks (WALKS=n) and the fuzz corpus of the unwinder
	$(Q)$(BUILD)/tests/replay_eh_frame tests/fuzz/corpus/eh_frame
	$(Q)$(BUILD)/tests/walks $(WALKS)

check-storm: $(BUILD)/tests/storm ## stack walks while libraries come and go, exceptions fly, threads fork (STORM=seconds)
	$(Q)$(BUILD)/tests/storm $(STORM) && $(BUILD)/tests/storm $$(($(STORM) / 2)) dl throw && \
		$(BUILD)/tests/storm $$(($(STORM) / 2)) iterate fork threads

check-unwind: check-walks check-storm ## walks and storm

check-unwind-long: $(BUILD)/tests/storm $(BUILD)/tests/walks
	$(Q)$(BUILD)/tests/storm 600
	$(Q)$(BUILD)/tests/walks 30000000

bench-unwind: $(BUILD)/tests/bench_unwind ## ns per frame: ours, frame pointers, glibc, libunwind; handler stack
	$(Q)$(BUILD)/tests/bench_unwind

fuzz-eh-frame: $(BUILD)/tests/fuzz_eh_frame ## libFuzzer on the unwind table parser (FUZZ_SECONDS=60)
	$(Q)mkdir -p $(BUILD)/fuzz/eh_frame
	$(Q)$(BUILD)/tests/fuzz_eh_frame -max_len=1024 -timeout=5 -max_total_time=$(or $(FUZZ_SECONDS),60) \
		-artifact_prefix=$(BUILD)/fuzz/ $(BUILD)/fuzz/eh_frame tests/fuzz/corpus/eh_frame

$(BUILD)/tests/oracle: $(BUILD)/obj/tests/unwind/oracle.o $(BUILD)/obj/tests/unwind/rows.o $(UNWIND_OBJ) $(BUILD)/obj/agent/collect/modules.o $(BUILD)/obj/agent/collect/unloads.o
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
		$(BUILD)/obj/agent/collect/unwind_stack.o $(BUILD)/obj/agent/collect/modules.o $(BUILD)/obj/agent/collect/unloads.o | $(BUILD)/tests/swap_a.so $(BUILD)/tests/swap_b.so
	$(call say,LINK,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CXX) -O2 -no-pie $(LDFLAGS) -o $@ $^ -ldl -lpthread

$(BUILD)/obj/tests/bench/bench_unwind.o $(BUILD)/obj/tests/unwind/oracle.o $(BUILD)/obj/tests/unwind/rows.o: TEST_CFLAGS += -O2

-include $(patsubst %,$(BUILD)/obj/tests/unwind/%.d,oracle rows storm)
