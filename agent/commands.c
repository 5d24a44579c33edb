/* The list. */
#include "commands.h"

#include "status.h"

const struct answer_command *const agent_commands[] = {&status_command, NULL};
