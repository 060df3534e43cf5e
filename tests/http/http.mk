# SPDX-License-Identifier: Apache-2.0
# The listener alone: agent/base and agent/http without the rest of the agent.

HTTP_OBJ := $(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard agent/base/*.c agent/http/*.c))

.PHONY: check-http
CHECKS_BESIDE += check-http

check-http: $(BUILD)/tests/http/serve ## the listener against hostile clients
	$(Q)python3 tests/http/run.py $(BUILD)/tests/http/serve

$(BUILD)/tests/http/serve: $(BUILD)/obj/tests/http/serve.o $(HTTP_OBJ)
	$(call say,LINK,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^

-include $(BUILD)/obj/tests/http/serve.d

# Lines and branches that the unit tests reach, file by file.
HTTP_UNIT := main test_request test_query test_address test_access test_http_parts
COVERAGE_SRC := $(wildcard agent/base/*.c agent/http/*.c) $(HTTP_UNIT:%=tests/unit/%.c)
.PHONY: coverage-http
coverage-http: ## lines and branches of agent/http that its unit tests reach
	$(Q)rm -rf $(BUILD)/coverage && mkdir -p $(BUILD)/coverage
	$(Q)for src in $(COVERAGE_SRC); do \
		$(CC) -std=gnu17 -O0 -g --coverage -D_GNU_SOURCE -DVERSION='"$(VERSION)"' -I. -Iagent/arch/$(ARCH) \
			-c -o $(BUILD)/coverage/$$(basename $$src .c).o $$src || exit 1; \
	done; \
	$(CC) --coverage -o $(BUILD)/coverage/unit $(BUILD)/coverage/*.o && $(BUILD)/coverage/unit
	$(Q)for name in request query path ip address access date upstream; do \
		printf '%-12s' $$name.c; gcov -n -b $(BUILD)/coverage/$$name.gcda | \
			awk -F: '/^Lines/ && !lines { lines = $$2 } \
				/^Taken|^No branches/ { printf "lines %s, branches taken %s\n", lines, $$2 ? $$2 : "none"; exit }'; \
	done
