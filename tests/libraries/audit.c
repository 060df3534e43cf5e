/* SPDX-License-Identifier: Apache-2.0 */
/* An auditor that does nothing: it only makes the loader go its other ways, with a namespace more. */
#include <link.h>

unsigned la_version(unsigned version)
{
	return version;
}
