/* A page is where the last transaction in the log that is complete has put it, or else
 * in the file. The log is valid up to its first frame whose checksum is wrong, as it
 * is for SQLite: what comes behind that may be left from an earlier use of the log. */
#include "image.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE_MIN 512
#define PAGE_MAX 65536
#define GUESS_PAGES 256 /* looked at to find out how large pages are */

#define LOG_HEADER 32
#define LOG_MAGIC 0x377f0682 /* or the next number: then checksums are of big-endian words */
#define FRAME_HEADER 24

static bool read_at(int fd, void *bytes, size_t size, uint64_t at)
{
	return fd >= 0 && pread(fd, bytes, size, (off_t)at) == (ssize_t)size;
}

static uint64_t size_of(int fd)
{
	struct stat status;

	return fd >= 0 && fstat(fd, &status) == 0 && status.st_size > 0 ? (uint64_t)status.st_size : 0;
}

/* ---- how large pages are ---- */

static bool is_page_size(uint32_t size)
{
	return size >= PAGE_MIN && size <= PAGE_MAX && (size & (size - 1)) == 0;
}

static bool looks_like_a_tree(const unsigned char *page, uint32_t size)
{
	unsigned header = page[0] == 2 || page[0] == 5 ? 12 : 8;
	unsigned cells = (unsigned)page[3] << 8 | page[4], content = (unsigned)page[5] << 8 | page[6];

	return (page[0] == 2 || page[0] == 5 || page[0] == 10 || page[0] == 13) && cells > 0 &&
	       header + 2 * cells <= content && content < size;
}

/* The size at whose multiples most often something like a page begins. */
static uint32_t guess_page_size(int file)
{
	uint64_t size = size_of(file), best_found = 0, best_pages = 1;
	uint32_t best = 0;

	for (uint32_t guess = PAGE_MIN; guess <= PAGE_MAX; guess *= 2) {
		uint64_t pages = size / guess < GUESS_PAGES ? size / guess : GUESS_PAGES, found = 0;
		unsigned char start[8];

		for (uint64_t i = 1; i < pages; i++)
			found += read_at(file, start, sizeof start, i * guess) && looks_like_a_tree(start, guess);
		if (found * best_pages > best_found * pages) {
			best = guess;
			best_found = found;
			best_pages = pages;
		}
	}
	return best;
}

/* What the file says, or the log, or what it looks like. */
static uint32_t find_page_size(const struct image *image)
{
	unsigned char at[4];
	uint32_t size = 0;

	if (read_at(image->file, at, 2, 16))
		size = at[0] == 0 && at[1] == 1 ? PAGE_MAX : (uint32_t)at[0] << 8 | at[1];
	if (!is_page_size(size) && read_at(image->log, at, 4, 8))
		size = image_number(at);
	return is_page_size(size) ? size : guess_page_size(image->file);
}

/* ---- the log ---- */

struct log_state {
	bool big_endian;
	unsigned char salts[8];
	uint32_t sums[2];
};

static uint32_t word(const struct log_state *state, const unsigned char *at)
{
	return state->big_endian ? image_number(at)
	                         : (uint32_t)at[3] << 24 | (uint32_t)at[2] << 16 | (uint32_t)at[1] << 8 | at[0];
}

static void add_to_sums(struct log_state *state, const unsigned char *bytes, size_t size)
{
	for (size_t i = 0; i + 8 <= size; i += 8) {
		state->sums[0] += word(state, bytes + i) + state->sums[1];
		state->sums[1] += word(state, bytes + i + 4) + state->sums[0];
	}
}

static bool sums_are(const struct log_state *state, const unsigned char *at)
{
	return image_number(at) == state->sums[0] && image_number(at + 4) == state->sums[1];
}

static bool begin_log(const struct image *image, struct log_state *state)
{
	unsigned char header[LOG_HEADER];

	if (!read_at(image->log, header, sizeof header, 0) || (image_number(header) & ~UINT32_C(1)) != LOG_MAGIC ||
	    image_number(header + 8) != image->page_bytes)
		return false;
	*state = (struct log_state){.big_endian = header[3] & 1};
	memcpy(state->salts, header + 16, sizeof state->salts);
	add_to_sums(state, header, 24);
	return sums_are(state, header + 24);
}

static uint64_t frame_at(const struct image *image, uint32_t frame)
{
	return LOG_HEADER + (uint64_t)(frame - 1) * (FRAME_HEADER + image->page_bytes);
}

/* The number of the last frame of a complete transaction, and how many pages the
 * database has since then; 0: there is none. */
static uint32_t last_commit(const struct image *image, uint32_t *pages, unsigned char *frame)
{
	struct log_state state;
	uint32_t last = 0;

	if (!begin_log(image, &state))
		return 0;
	for (uint32_t i = 1; read_at(image->log, frame, FRAME_HEADER + image->page_bytes, frame_at(image, i)); i++) {
		add_to_sums(&state, frame, 8);
		add_to_sums(&state, frame + FRAME_HEADER, image->page_bytes);
		if (memcmp(frame + 8, state.salts, sizeof state.salts) != 0 || !sums_are(&state, frame + 16))
			break;
		if (image_number(frame + 4) > 0) {
			last = i;
			*pages = image_number(frame + 4);
		}
	}
	return last;
}

static int read_log(struct image *image)
{
	unsigned char number[4], *frame = malloc(FRAME_HEADER + (size_t)image->page_bytes);
	uint32_t last;

	if (!frame)
		return -1;
	last = last_commit(image, &image->pages, frame);
	free(frame);
	if (last == 0)
		return 0;
	image->frames = calloc((size_t)image->pages + 1, sizeof *image->frames);
	if (!image->frames)
		return -1;
	for (uint32_t i = 1; i <= last; i++)
		if (read_at(image->log, number, sizeof number, frame_at(image, i)) && image_number(number) <= image->pages)
			image->frames[image_number(number)] = i;
	return 0;
}

/* ---- */

int image_open(struct image *image, const char *path)
{
	char log[4200];
	uint64_t pages;

	snprintf(log, sizeof log, "%s-wal", path);
	*image = (struct image){.file = open(path, O_RDONLY | O_CLOEXEC), .log = open(log, O_RDONLY | O_CLOEXEC)};
	image->page_bytes = find_page_size(image);
	if (image->page_bytes == 0)
		return 0;
	pages = size_of(image->file) / image->page_bytes;
	image->pages = pages < UINT32_MAX / 2 ? (uint32_t)pages : UINT32_MAX / 2;
	if (read_log(image) == 0)
		return 0;
	image_close(image);
	return -1;
}

void image_close(struct image *image)
{
	if (image->file >= 0)
		close(image->file);
	if (image->log >= 0)
		close(image->log);
	free(image->frames);
	*image = (struct image){.file = -1, .log = -1};
}

bool image_read(const struct image *image, uint32_t page, unsigned char *bytes)
{
	if (page < 1 || page > image->pages)
		return false;
	if (image->frames && image->frames[page])
		return read_at(image->log, bytes, image->page_bytes, frame_at(image, image->frames[page]) + FRAME_HEADER);
	return read_at(image->file, bytes, image->page_bytes, (uint64_t)(page - 1) * image->page_bytes);
}
