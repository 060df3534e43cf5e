# SPDX-License-Identifier: Apache-2.0
# encode-driver: writes hand-made profiles for tests/integration/test_encode.py to judge, and measures.

ENCODE_LIB_OBJ := $(filter $(BUILD)/obj/encode/% $(BUILD)/obj/gen/% $(BUILD)/obj/agent/base/% $(BUILD)/obj/agent/collect/%,$(OBJ))
ENCODE_DRIVER := $(BUILD)/tests/encode-driver

programs: $(ENCODE_DRIVER)

$(ENCODE_DRIVER): $(BUILD)/obj/tests/encode/driver.o $(ENCODE_LIB_OBJ)
	$(call say,LINK,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(OWN_LIBS) -ldl -lpthread

-include $(BUILD)/obj/tests/encode/driver.d
