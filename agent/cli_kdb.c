/* kdb: what has to do with kdb+ and needs no agent. */
#include <stdio.h>
#include <string.h>

#include "cli.h"

int cli_kdb(const struct options *options)
{
	if (strcmp(options->operands[0], "listen") == 0)
		return cli_kdb_listen(options);
	if (strcmp(options->operands[0], "decode") == 0 &&
	    (options->user || options->password || options->error || options->error_every)) {
		fprintf(stderr, "tidegate kdb decode: --user, --password, --error and --error-every are for kdb listen\n");
		return CLI_USAGE;
	}
	if (strcmp(options->operands[0], "decode") == 0)
		return cli_kdb_decode(options);
	fprintf(stderr, "tidegate kdb: expected decode or listen, not %s\n", options->operands[0]);
	return CLI_USAGE;
}
