#!/usr/bin/python3
"""What people write by hand, 2: a forwarder in Python with paho-mqtt and SQLite.

    python_forward.py SOURCE-PORT SINK-PORT TOPIC DATABASE

Each message is committed (WAL, synchronous=FULL) before it is acknowledged, and
deleted when the sink has acknowledged it. One thread, a window of 100.
"""
import collections
import select
import socket
import sqlite3
import sys
import time

import paho.mqtt.client as mqtt

WINDOW = 100


class Forwarder:
    def __init__(self, source_port, sink_port, topic, path):
        self.database = sqlite3.connect(path, isolation_level=None)
        self.database.execute("PRAGMA journal_mode=WAL")
        self.database.execute("PRAGMA synchronous=FULL")
        self.database.execute(
            "CREATE TABLE IF NOT EXISTS queue (seq INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT, payload BLOB)")
        self.topic = topic
        self.in_flight = {}
        self.waiting = collections.deque()  # what is not in flight, while it fits
        self.last_waiting = 0  # the newest seq that `waiting` has had
        self.newest = self.database.execute("SELECT coalesce(max(seq), 0) FROM queue").fetchone()[0]
        self.source = self.client("python-source", source_port)
        self.sink = self.client("python-sink", sink_port)
        self.source.on_connect = lambda *_: self.source.subscribe(topic, 1)
        self.source.on_message = self.on_message
        self.sink.on_publish = self.on_publish
        self.sink_up = False
        self.sink.on_connect = self.on_sink_connect
        self.sink.on_disconnect = self.on_sink_disconnect

    def client(self, name, port):
        client = mqtt.Client(name, clean_session=False)
        client.max_inflight_messages_set(WINDOW)
        client.connect_async("127.0.0.1", port)
        return client

    def on_sink_connect(self, *_):
        self.sink_up = True

    def on_sink_disconnect(self, *_):
        self.sink_up = False

    def on_message(self, _client, _userdata, message):
        cursor = self.database.execute(
            "INSERT INTO queue (topic, payload) VALUES (?, ?)", (message.topic, message.payload))
        if self.last_waiting == self.newest and len(self.waiting) < WINDOW:
            self.waiting.append((cursor.lastrowid, message.topic, message.payload))
            self.last_waiting = cursor.lastrowid
        self.newest = cursor.lastrowid

    def on_publish(self, _client, _userdata, mid):
        self.database.execute("DELETE FROM queue WHERE seq = ?", (self.in_flight.pop(mid),))

    def send(self):
        while self.sink_up and len(self.in_flight) < WINDOW:
            if not self.waiting:
                self.waiting.extend(self.database.execute(
                    "SELECT seq, topic, payload FROM queue WHERE seq > ? ORDER BY seq LIMIT ?",
                    (self.last_waiting, WINDOW)))
                if not self.waiting:
                    return
                self.last_waiting = self.waiting[-1][0]
            seq, topic, payload = self.waiting.popleft()
            self.in_flight[self.sink.publish(topic, payload, 1).mid] = seq

    def reconnect(self):
        for client in (self.source, self.sink):
            if client.socket() is None:
                try:
                    client.reconnect()
                    client.socket().setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                except OSError:
                    pass

    def turn(self):
        clients = [client for client in (self.source, self.sink) if client.socket() is not None]
        readable, writable, _ = select.select(
            clients, [client for client in clients if client.want_write()], [], 0.2)
        for client in readable:
            client.loop_read()
        self.send()
        for client in writable:
            client.loop_write()

    def run(self):
        next_check = 0
        while True:
            if time.monotonic() >= next_check:
                self.reconnect()
                for client in (self.source, self.sink):
                    client.loop_misc()
                next_check = time.monotonic() + 1
            self.turn()


# select() takes whatever has fileno()
mqtt.Client.fileno = lambda self: self.socket().fileno()

if __name__ == "__main__":
    Forwarder(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]).run()
