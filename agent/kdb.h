/* kdb+ links: the transport over kdb+ IPC. */
#ifndef TIDEGATE_KDB_H
#define TIDEGATE_KDB_H

struct transport_ops;

/* Messages it is given are rows: the topic names the table, the payload is as agent/kdb_batch.h
 * has it. */
extern const struct transport_ops kdb_transport;

#endif
