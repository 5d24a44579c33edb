/ keyed.q: tables in which a reading that comes twice is the same row.
/ NOT RUN ON A REAL q: written from KX's documentation.

/ Where the key tells one reading from another, here sensor and event time, a batch that comes again
/ changes nothing, and neither marks nor a journal are needed for that:
/     hist = { url = "kdb://gw:secret@collector:5010", call = "upd", tables = { sensor = {...} } }
/ Not for a tickerplant: its subscribers would see the rows twice.
/ Two readings of one sensor with the same time are one row: the later one.

sensor:([sym:`symbol$();ts:`timestamp$()]val:`float$())

upd:{[t;x] t upsert flip(cols t)!x;}

/ To also keep what arrives, through this process's own death: exactly_once = true, and
/     \l tidegate.q
/     .tidegate.open`:sensor.journal
