/* Gives a fuzz target all files of its corpus: what was found once is not found again.
 * CORPUS is the directory.
 */
#include <dirent.h>
#include <sys/stat.h>

#include "fuzz.h"
#include "test.h"

/* In memory that ends with the file, so that a byte too far is seen. */
static void give(const char *path)
{
	FILE *file = fopen(path, "r");
	struct stat st;
	uint8_t *data;
	size_t size;

	REQUIRE(file && fstat(fileno(file), &st) == 0);
	size = (size_t)st.st_size;
	data = malloc(size ? size : 1);
	REQUIRE(data && fread(data, 1, size, file) == size);
	(void)fclose(file);
	(void)LLVMFuzzerTestOneInput(data, size);
	free(data);
}

static void corpus_does_no_harm(void)
{
	DIR *directory = opendir(CORPUS);
	struct dirent *entry;
	char path[512];
	int n = 0;

	REQUIRE(directory);
	while ((entry = readdir(directory)) != NULL) {
		if (entry->d_name[0] == '.')
			continue;
		(void)snprintf(path, sizeof path, "%s/%s", CORPUS, entry->d_name);
		give(path);
		n++;
	}
	(void)closedir(directory);
	printf("figures: %d inputs of %s\n", n, CORPUS);
	CHECK(n > 0);
}

int main(void)
{
	RUN(corpus_does_no_harm);
	return test_end();
}
