/ tickerplant.q: .tidegate.upd inside KX's tickerplant, tick.q 2.8.
/ NOT RUN ON A REAL q: written from KX's documentation and from reading tick.q and u.q.

/ Start the tickerplant with a script that loads, in this order,
/     \l tick.q
/     \l tidegate.q
/     \l tickerplant.q
/ and the usual arguments (q that.q sym /logs -p 5010); load tidegate.q in r.q, before it replays the log.
/ Other feeds go on calling .u.upd; subscribers go on receiving (`upd;t;x).

.tidegate.batch:any "-t"~/:.z.X        / started with -t: tick.q publishes on its timer

/ what .u.upd does first: is it tomorrow? And arrival time in front, where the first column is no timespan
.tidegate.newday:{[] $[not .tidegate.batch; .u.ts "d"$.z.P; .u.d<"d"$.z.P; .z.ts[]; (::)];}
.tidegate.before:{[x]
  .tidegate.newday[];
  $[-16h=type first first x; x; (enlist(count first x)#"n"$.z.P),x]}

.tidegate.keep:{[m] if[.u.l; .u.l enlist m; $[.tidegate.batch; .u.j+:1; .u.i+:1]];}

/ log first, then publish: an error of the log leaves nothing behind
.tidegate.apply:{[agent;instance;seq;t;x]
  .tidegate.keep(`.tidegate.logged;agent;instance;seq;t;x);
  `.tidegate.marks upsert (agent;instance;t;seq);
  rows:flip(cols t)!x;
  $[.tidegate.batch; t insert rows; .u.pub[t;rows]];}

/ ---- the log of each day begins with the marks of the days before ----

.tidegate.carry:{[] if[.u.l and (0=.u.i) and 0<count .tidegate.marks;
  .u.l enlist(`.tidegate.carried;.tidegate.marks); .u.i+:1; .u.j+:1];}

/ tick.q's end of day closes the log and has .u.ld open the next one, whose handle it returns
.tidegate.ld:.u.ld
.u.ld:{[d] .u.l:.tidegate.ld d; .tidegate.carry[]; .u.l}

/ ---- at the start: the marks out of the log; its rows are not wanted here ----

.tidegate.replay:{[f]
  had:`upd in key`.;
  old:$[had; get`upd; (::)];
  `upd set {[t;x]};
  -11!f;
  $[had; `upd set old; ![`.;();0b;enlist`upd]];}

/ the newest log before today's, or null: ./sym2026.11.20 beside ./sym2026.11.21
.tidegate.older:{[]
  p:1_string .u.L; i:1+last where p="/";
  names:key hsym`$i#p;
  names:names where (string names) like (i _ -10 _ p),"????.??.??";
  names:asc names where names<`$i _ p;
  $[count names; hsym`$(i#p),string last names; `]}

.tidegate.restore:{[]
  if[not .u.l; :(::)];                 / a tickerplant without a log remembers nothing
  if[0=.u.i; if[not null f:.tidegate.older[]; .tidegate.replay f]];
  .tidegate.replay .u.L;
  .tidegate.carry[];}

.tidegate.restore[]
