/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/http/date.h"

#include "agent/base/fmt.h"

void date_print(uint64_t unix_seconds, char out[DATE_TEXT_MAX])
{
	static const char days[] = "ThuFriSatSunMonTueWed"; /* 1 January 1970 was a Thursday */
	static const char months[] = "MarAprMayJunJulAugSepOctNovDecJanFeb";
	uint64_t day = unix_seconds / 86400, second = unix_seconds % 86400;
	/* Years that begin in March put the odd day last: every 400 of them are 146097 days, and
	 * 1970 began 719468 days after 1 March of the year 0. */
	uint64_t era = (day + 719468) / 146097, in_era = (day + 719468) % 146097;
	uint64_t year = (in_era - in_era / 1460 + in_era / 36524 - in_era / 146096) / 365;
	uint64_t in_year = in_era - (365 * year + year / 4 - year / 100);
	uint64_t month = (5 * in_year + 2) / 153; /* 0 is March */

	fmt_buf(out, DATE_TEXT_MAX, "%.3s, %02lu %.3s %04lu %02lu:%02lu:%02lu GMT",
		days + 3 * (day % 7), in_year - (153 * month + 2) / 5 + 1, months + 3 * month,
		year + era * 400 + (month >= 10), second / 3600, second / 60 % 60, second % 60);
}
