/ tidegate.q: takes each batch of a Tidegate gateway once.
/ NOT RUN ON A REAL q: written from KX's documentation. Try it beside your own before you rely on it.

/ A link with exactly_once = true calls
/     (`.tidegate.upd; agent; instance; first; last; table; columns)
/ with the gateway's name (symbol), its database (guid), the sequence numbers of the batch's first and last
/ row (longs), the table's name (symbol) and the list of its columns. After a lost reply, a crash or a
/ restart on either side the same batch comes again, with the same last number. So one number for each
/ (agent; instance; table) is enough to know what is held: the mark.

/ The rows and the mark are one message of the log, so whoever replays the log has both or neither.
/ Every process that replays such a log (with -11!) loads this file first: the tickerplant, and r.q.

.tidegate.marks:([agent:`symbol$();instance:`guid$();tab:`symbol$()]seq:`long$())

/ the last sequence number held; null, which is below all numbers, where there is none
.tidegate.mark:{[agent;instance;t] .tidegate.marks[`agent`instance`tab!(agent;instance;t)]`seq}

/ what the log has: the rows go to this process's own upd, as those of (`upd;t;x) do
.tidegate.logged:{[agent;instance;seq;t;x] `.tidegate.marks upsert (agent;instance;t;seq); upd[t;x];}

/ the marks of earlier logs, at the beginning of a new one
.tidegate.carried:{[marks] `.tidegate.marks upsert marks;}

/ the rule; the reply is :: or an error, and an error means that nothing was applied
.tidegate.upd:{[agent;instance;lo;hi;t;x]
  m:.tidegate.mark[agent;instance;t];
  if[hi<=m; :(::)];                    / seen before
  if[lo<=m; '"tidegate.overlap"];      / never happens: part of it was seen before
  if[not t in tables`.; 't];
  x:.tidegate.before x;
  .tidegate.fits[t;x];
  .tidegate.apply[agent;instance;hi;t;x];}

/ a wrong type in the log would stop every replay: look before
.tidegate.fits:{[t;x]
  if[(count x)<>count cols t; '"length"];
  if[1<count distinct count each x; '"length"];
  if[not (type each x)~type each value flip 0!value t; '"type"];}

/ In a q process without a tickerplant: a journal of its own. Define the tables and upd (upd:insert),
/ then .tidegate.open`:journal. tickerplant.q puts the tickerplant's log in the place of these three.
/ A write to the journal is with the kernel when it returns: it survives q, not a power cut.
.tidegate.h:0
.tidegate.open:{[f] if[()~key f; f set ()]; -11!f; .tidegate.h:hopen f;}
.tidegate.before:{[x] x}
.tidegate.apply:{[agent;instance;seq;t;x]
  if[.tidegate.h; .tidegate.h enlist(`.tidegate.logged;agent;instance;seq;t;x)];
  .tidegate.logged[agent;instance;seq;t;x];}
