/* What the agent takes of the disk. */
#ifndef TIDEGATE_DISK_H
#define TIDEGATE_DISK_H

#include <stdint.h>

/* The size of the file `path` with `suffix` behind it; 0: there is none. */
int64_t disk_file_bytes(const char *path, const char *suffix);

/* What this process has had written to disks, as the kernel counts it; -1: it does not. */
int64_t disk_written_bytes(void);

#endif
