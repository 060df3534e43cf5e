# SPDX-License-Identifier: Apache-2.0
# The listener alone: agent/base and agent/http without the rest of the agent.

HTTP_OBJ := $(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard agent/base/*.c agent/http/*.c))

.PHONY: check-http
CHECKS += check-http

check-http: $(BUILD)/tests/http/serve ## the listener against hostile clients
	$(Q)python3 tests/http/test_server.py $(BUILD)/tests/http/serve

$(BUILD)/tests/http/serve: $(BUILD)/obj/tests/http/serve.o $(HTTP_OBJ)
	$(call say,LINK,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^

-include $(BUILD)/obj/tests/http/serve.d
