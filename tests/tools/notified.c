/* A service manager, as far as it listens: prints every datagram that arrives at a unix
 * socket (a path, or @NAME) as one line, with '|' between its lines.
 *
 * usage: notified SOCKET */
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

int main(int argc, char **argv)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t size = argc == 2 ? strlen(argv[1]) : 0;
	int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
	char message[4096];
	ssize_t n;

	if (size == 0 || size >= sizeof address.sun_path) {
		fprintf(stderr, "usage: notified SOCKET\n");
		return 64;
	}
	memcpy(address.sun_path, argv[1], size);
	if (*argv[1] == '@')
		address.sun_path[0] = '\0';
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size)) < 0) {
		perror(argv[1]);
		return 1;
	}
	printf("listening\n");
	fflush(stdout);
	while ((n = recv(fd, message, sizeof message, 0)) >= 0) {
		for (ssize_t i = 0; i < n; i++)
			if (message[i] == '\n')
				message[i] = '|';
		printf("%.*s\n", (int)n, message);
		fflush(stdout);
	}
	perror("recv");
	return 1;
}
