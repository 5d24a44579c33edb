/* The list. */
#include "commands.h"

#include "dead_commands.h"
#include "queue_commands.h"
#include "reload.h"
#include "status.h"

const struct answer_command *const agent_commands[] = {
        &status_command, &dead_list_command, &dead_show_command, &dead_retry_command, &dead_purge_command,
        &queue_list_command, &queue_show_command, &queue_export_command, &queue_purge_command, &reload_command,
        NULL,
};
