/* agent.lua: any text gives a configuration, or problems that each say where, and
 * leaves nothing behind.
 */
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config.h"
#include "fuzz.h"

static char directory[64], path[80];

static void remove_directory(void)
{
	(void)unlink(path);
	(void)rmdir(directory);
}

static void open_once(void)
{
	if (directory[0])
		return;
	(void)snprintf(directory, sizeof directory, "%s/tidegate-fuzz-XXXXXX",
	               access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	ALWAYS(mkdtemp(directory));
	(void)snprintf(path, sizeof path, "%s/agent.lua", directory);
	atexit(remove_directory);
}

static void write_file(const uint8_t *data, size_t size)
{
	FILE *file = fopen(path, "w");

	ALWAYS(file);
	ALWAYS(fwrite(data, 1, size, file) == size && fclose(file) == 0);
}

static void check_problems(const struct problems *problems)
{
	ALWAYS(problems->n > 0);
	for (size_t i = 0; i < problems->n; i++)
		ALWAYS(problems->lines[i] && strlen(problems->lines[i]) > 3);
	ALWAYS(strncmp(problems->lines[0], directory, strlen(directory)) == 0);
}

static void check_config(const struct config *config)
{
	ALWAYS(config->name && config->n_links > 0);
	for (size_t i = 0; i < config->n_links; i++) {
		ALWAYS(config->links[i].name && config->links[i].n_urls > 0 && config->links[i].client_id);
		ALWAYS(config->links[i].window > 0);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct problems problems = { 0 };
	struct config *config;

	open_once();
	write_file(data, size);
	config = config_load(path, NULL, &problems);
	if (config)
		check_config(config);
	else
		check_problems(&problems);
	config_free(config);
	problems_release(&problems);
	config_free(config_glance(path, &problems));
	problems_release(&problems);
	return 0;
}
