/* The list. */
#include "commands.h"

#include "dead_commands.h"
#include "reload.h"
#include "status.h"

const struct answer_command *const agent_commands[] = {
        &status_command, &dead_list_command, &dead_show_command, &dead_retry_command, &dead_purge_command, &reload_command,
        NULL,
};
