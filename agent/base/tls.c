/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/base/tls.h"

TLS struct thread_tls tls;
