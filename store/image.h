/* The pages of a database file as they are on disk, the log's over the file's: read
 * without SQLite, which reads nothing where the first page is damaged. */
#ifndef TIDEGATE_IMAGE_H
#define TIDEGATE_IMAGE_H

#include <stdbool.h>
#include <stdint.h>

struct image {
	int file, log; /* -1: there is none */
	uint32_t page_bytes, pages;
	uint32_t *frames; /* by page: the frame of the log that has it last, from 1; NULL: none has any */
};

/* Nothing may write to the files meanwhile. Files that are not there or make no sense
 * have no pages. 0, or -1 if memory is exhausted. */
int image_open(struct image *image, const char *path);

/* Gives up the locks that this process has on the file, whoever took them (fcntl(2)). */
void image_close(struct image *image);

/* Page `page`, from 1, into `bytes`; false if it cannot be read. */
bool image_read(const struct image *image, uint32_t page, unsigned char *bytes);

/* Big-endian, as everything in the file is. */
static inline uint32_t image_number(const unsigned char *at)
{
	return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

#endif
