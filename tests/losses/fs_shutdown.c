/* A power cut, as far as a file system is concerned: from the moment of the call
 * nothing more reaches its device, neither data nor journal, and every access
 * fails. After umount and mount it is what it would be after the real thing,
 * journal replayed. ext4, XFS and f2fs know that call, for their own crash tests;
 * needs root.
 *
 *	fs_shutdown MOUNT-POINT
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/ioctl.h>

#define SHUT_DOWN _IOR('X', 125, uint32_t)
#define WITHOUT_FLUSHING 2

int main(int argc, char **argv)
{
	uint32_t how = WITHOUT_FLUSHING;
	int fd;

	if (argc != 2) {
		fprintf(stderr, "usage: fs_shutdown MOUNT-POINT\n");
		return 64;
	}
	fd = open(argv[1], O_RDONLY | O_DIRECTORY);
	if (fd < 0 || ioctl(fd, SHUT_DOWN, &how) < 0) {
		perror(argv[1]);
		return 1;
	}
	return 0;
}
