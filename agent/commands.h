/* What the agent answers on its control socket, and what the command line works
 * out by itself on the database of an agent that does not run. */
#ifndef TIDEGATE_COMMANDS_H
#define TIDEGATE_COMMANDS_H

#include "answer.h"

/* Ends with NULL. Their `arg` is the struct agent. */
extern const struct answer_command *const agent_commands[];

#endif
