/* SPDX-License-Identifier: Apache-2.0 */
/* What plugin.c looks for. */
int inner_number(void);
int inner_number(void)
{
	return 7;
}
