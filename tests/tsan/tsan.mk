# SPDX-License-Identifier: Apache-2.0
# The agent's own objects under the thread sanitizer: the unit tests of what threads share, and a stress of the
# modules behind the hooks. Tests that read stacks (the unwinder's) cannot run so: the sanitizer changes their
# frames, and reading another thread's stack is what they are about.
.PHONY: check-tsan
check-long-suites: check-tsan
TSAN := -fsanitize=thread -Wno-tsan -DDESTRUCTOR_ROUNDS=2
TSAN_UNIT := test_heap test_livemap test_locks test_tally test_trace.c test_unloads test_http_parts test_access test_address test_request \
	test_maps test_perfmap test_sizeclass test_symtab test_demangle test_encode_text
TSAN_SECONDS ?= 60

check-tsan: ## the agent's own objects under the thread sanitizer (TSAN_SECONDS=60)
	$(Q)$(MAKE) --no-print-directory BUILD=$(BUILD)/tsan CFLAGS="$(TSAN)" LDFLAGS="-fsanitize=thread" $(BUILD)/tsan/tests/unit $(BUILD)/tsan/tests/stress
	$(Q)$(BUILD)/tsan/tests/unit $(TSAN_UNIT)
	$(Q)$(BUILD)/tsan/tests/stress $(TSAN_SECONDS)

$(BUILD)/tests/stress: $(BUILD)/obj/tests/tsan/stress.o $(UNIT_LIB_OBJ)
	$(call say,LINK,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) -Wl,--wrap=sys_enter $(LDFLAGS) -o $@ $^ $(OWN_LIBS) -lm -ldl -lpthread

-include $(BUILD)/obj/tests/tsan/stress.d

# Those of the long suite, alone.
.PHONY: check-valgrind
check-long: $(BUILD)/tests/unit
check-valgrind: all programs $(BUILD)/tests/unit ## programs under memcheck with the agent in them, and the unit tests that it can run
	$(Q)$(RUN_TESTS) --name valgrind --long tests/integration/test_valgrind.py
