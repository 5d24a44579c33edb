/ subscriber.q: a collector behind an MQTT broker, for links with ack_topic.
/ NOT RUN ON A REAL q: written from KX's documentation and from reading its MQTT interface.

/ KX's interface acknowledges a message to the broker before q has seen it: what q had not taken when it
/ died is lost, for the broker. So the gateway keeps each message until q itself says that it holds it.
/ On a link with ack_topic each message begins with one line,
/     {"instance":"5b0c...","seq":17,"after":16}
/ then a line feed, then the payload. `after` is the message that went out before it, 0 if all of those are
/ acknowledged. Whoever holds everything up to 17 publishes that very line to the topic of acknowledgements.

/ At QoS 0: a publish at QoS 1 within .mqtt.msgrcvd hangs q once there is a backlog. One that is lost is
/ repeated: the gateway sends its oldest message again, and that is answered again.

\l mqtt.q

.sub.broker:`$"tcp://localhost:1883"
.sub.topic:`$"readings/#"
.sub.ack:`$"tidegate/gw-01/ack"        / ack_topic of the gateway's link; one such process for each link
.sub.journal:`:readings.journal

sensor:([]sym:`symbol$();ts:`timestamp$();val:`float$())
bad:([]time:`timestamp$();topic:();body:())

.sub.held:(`$())!`long$()              / instance -> all up to here is in the journal
.sub.lines:(`$())!()                   / instance -> the line that says so
.sub.due:`$()                          / instances to acknowledge

/ what a payload is: (table; columns). This is for kdb.encode in the gateway's rules; for JSON take .j.k
.sub.parse:{[topic;body] x:-9!"x"$body; $[(x 0) in tables`.; x; '"table"]}

.sub.keep:{[instance;seq;line;x] .sub.held[instance]:seq; .sub.lines[instance]:line; (x 0) insert x 1;}

.mqtt.msgrcvd:{[topic;msg]
  line:(i:msg?"\n")#msg; body:(i+1)_msg;
  head:.j.k line;
  instance:`$head`instance; seq:"j"$head`seq; held:0^.sub.held instance;
  if[held<"j"$head`after; :(::)];      / one before it is missing: both will come again
  .sub.due:distinct .sub.due,instance;
  if[seq<=held; :(::)];                / held already; the acknowledgement was lost
  x:.[.sub.parse;(topic;body);{[t;b;e](`bad;(enlist .z.p;enlist t;enlist b))}[topic;body]];
  .sub.h enlist(`.sub.keep;instance;seq;line;x);
  .sub.keep[instance;seq;line;x];}

/ cumulative, so once a second is enough; well below the gateway's ack_timeout
.z.ts:{[x] {[i] .mqtt.pubx[.sub.ack;.sub.lines i;0;0b]} each .sub.due; .sub.due:`$();}

/ the interface does not reconnect: leave that to who supervises this process
.mqtt.disconn:{[x] exit 1}

if[()~key .sub.journal; .sub.journal set ()]
-11!.sub.journal
.sub.h:hopen .sub.journal

.mqtt.conn[.sub.broker;`collector;(enlist`cleansession)!enlist 0]
.mqtt.subx[.sub.topic;1]
system"t 1000"
