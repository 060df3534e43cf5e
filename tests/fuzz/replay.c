/* SPDX-License-Identifier: Apache-2.0 */
/* Runs a fuzz target over the files of a directory, and over every cut and a few bent forms of the small
 * ones: replay DIRECTORY. Fails when there are none. */
#include <dirent.h>

#include "tests/fuzz/fuzz.h"

enum { CUT_MAX = 2048, BENT = 100 };

static void run(const uint8_t *data, size_t size)
{
	char *copy = exact_copy(data, size);

	LLVMFuzzerTestOneInput((const uint8_t *)copy, size);
	free(copy);
}

static size_t run_file(const char *path)
{
	FILE *file = fopen(path, "rb");
	static uint8_t data[4 << 20];
	unsigned seed = 1;
	size_t size, runs = 1;

	if (!file)
		exit(2);
	size = fread(data, 1, sizeof(data), file);
	fclose(file);
	run(data, size);
	for (size_t n = 0; n < size && n < CUT_MAX; n += size > CUT_MAX ? 17 : 1, runs++)
		run(data, n);
	for (int i = 0; i < BENT && size; i++, runs++) {
		size_t at = (size_t)rand_r(&seed) % (i % 2 && size > 512 ? 512 : size);
		uint8_t old = data[at];

		data[at] = (uint8_t)rand_r(&seed);
		run(data, size);
		data[at] = old;
	}
	return runs;
}

int main(int argc, char **argv)
{
	DIR *directory = argc > 1 ? opendir(argv[1]) : NULL;
	size_t files = 0, runs = 0;
	struct dirent *entry;

	while (directory && (entry = readdir(directory))) {
		char path[4096];

		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%s", argv[1], entry->d_name);
		runs += run_file(path);
		files++;
	}
	if (directory)
		closedir(directory);
	printf("replay %s: %zu files, %zu inputs\n", argc > 1 ? argv[1] : "", files, runs);
	return files == 0;
}
