# SPDX-License-Identifier: Apache-2.0
# Benchmarks: figures, no verdict. Each program's first comment says what it measures. ROUNDS=n, and
# PPROF_NAME=value words in SETTINGS. The unwinder's is in tests/unwind.

BENCHES := first start malloc record peers lock unwind trace symbols hostile real
.PHONY: bench $(BENCHES:%=bench-%)

bench: $(BENCHES:%=bench-%) ## all benchmarks: the tables of docs/performance.md

bench-first: ## how long a newcomer waits: clone, make, a program, its first flame graph (ROOT=an empty Debian's directory)
	$(Q)env -u MAKEFLAGS -u MAKELEVEL python3 tests/bench/first_graph.py $(if $(ROOT),--root $(ROOT))

bench-start: all programs ## what the agent adds to 200 short children of a shell
	$(Q)python3 tests/bench/start.py $(BUILD) $(ROUNDS)

bench-malloc: all $(BUILD)/tests/bench/bench_malloc ## what the hooks add to malloc and free (ROUNDS=1000)
	$(Q)PPROF_ADDR=127.0.0.1:0 LD_PRELOAD="$(abspath $(LIB))" $(BUILD)/tests/bench/bench_malloc $(ROUNDS)

bench-record: all $(BUILD)/tests/bench/churn_cc $(BUILD)/tests/bench/churn_rs ## what it costs to record every allocation, against heaptrack (ROUNDS=9)
	$(Q)BUILD="$(abspath $(BUILD))" python3 tests/bench/record.py $(or $(ROUNDS),9)

bench-peers: all $(BUILD)/tests/bench/churn_cc $(BUILD)/tests/bench/churn_rs ## the heap profile against those of jemalloc and tcmalloc (ROUNDS=9)
	$(Q)BUILD="$(abspath $(BUILD))" python3 tests/bench/peers.py $(or $(ROUNDS),9)

bench-lock: all $(BUILD)/tests/bench/locks ## what locks cost under the agent, against libc's own (ROUNDS=300)
	$(Q)BUILD="$(BUILD)" python3 tests/bench/locks.py $(or $(ROUNDS),300) $(SETTINGS)

bench-trace: all $(BUILD)/tests/bench/bench_trace ## what execution traces cost: hooks, redis under load, a million events (ROUNDS=n)
	$(Q)python3 tests/bench/trace.py $(BUILD) $(or $(ROUNDS),9)

bench-symbols: all ## what files, lines and inlined functions cost (MIB=200 of debug information in the largest program)
	$(Q)BUILD="$(abspath $(BUILD))" python3 tests/bench/symbols.py $(or $(MIB),200)

bench-hostile: all $(BUILD)/tests/bench/units ## what a crowd of hostile clients costs the program (ROUNDS=7)
	$(Q)BUILD="$(BUILD)" python3 tests/bench/hostile.py $(ROUNDS)

bench-real: all $(BUILD)/tests/bench/passing.so $(BUILD)/tests/bench/churn_cc $(BUILD)/tests/bench/churn_rs ## what the idle agent costs real programs (ROUNDS=15, WORD=name)
	$(Q)BUILD="$(abspath $(BUILD))" python3 tests/bench/real.py $(or $(ROUNDS),15) "$(WORD)"

$(BUILD)/tests/bench/passing.so: tests/bench/loads/passing.c
	$(call say,CC,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) -O2 -D_GNU_SOURCE -shared -fPIC -fno-builtin-malloc -fno-builtin-calloc -Wall -Wextra -o $@ $< -lpthread -ldl

$(BUILD)/tests/bench/churn_cc: tests/bench/loads/churn.cc
	$(call say,CXX,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(CXX) -O2 -Wall -Wextra -o $@ $<

$(BUILD)/tests/bench/churn_rs: tests/bench/loads/churn.rs
	$(call say,RUSTC,$<)
	$(Q)mkdir -p $(@D)
	$(Q)MAKEFLAGS= rustc --edition 2021 -O -o $@ $<

# What is measured is the call: the compiler must not see through malloc and free.
$(BUILD)/tests/bench/%: tests/bench/%.c
	$(call say,CC,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) -std=gnu17 -O2 -g -D_GNU_SOURCE -fno-builtin -Wall -Wextra -Wno-unused-parameter -o $@ $< -lpthread -ldl
