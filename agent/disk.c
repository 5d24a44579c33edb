/* Asked of the file system, and of the kernel's accounting. */
#include "disk.h"

#include <stdio.h>
#include <sys/stat.h>

int64_t disk_file_bytes(const char *path, const char *suffix)
{
	char name[4096];
	struct stat file;

	snprintf(name, sizeof name, "%s%s", path, suffix);
	return stat(name, &file) == 0 ? (int64_t)file.st_size : 0;
}

int64_t disk_written_bytes(void)
{
	FILE *file = fopen("/proc/self/io", "re");
	long long bytes = -1;
	char line[128];

	if (!file)
		return -1;
	while (bytes < 0 && fgets(line, sizeof line, file))
		if (sscanf(line, "write_bytes: %lld", &bytes) != 1)
			bytes = -1;
	fclose(file);
	return bytes;
}
