"""Paho's Python client as a sensor or collector of the interoperability tests.

It does what it is told in lines of JSON and tells what happens in others; tests/interop/driver.lua has the calls and
events. It connects again by itself, and buffers meanwhile, as the library does it.
"""
import json
import sys
import threading

from paho.mqtt import client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

KNOWN = {
    "payload_format": "PayloadFormatIndicator", "message_expiry": "MessageExpiryInterval",
    "content_type": "ContentType", "response_topic": "ResponseTopic", "correlation": "CorrelationData",
    "session_expiry": "SessionExpiryInterval", "receive_maximum": "ReceiveMaximum",
}
lock = threading.Lock()


def tell(event, **more):
    """A line of JSON; callbacks come from another thread."""
    with lock:
        print(json.dumps({"event": event, **more}), flush=True)


def read_properties(values, packet):
    """The library's properties of what a call has; None before MQTT 5."""
    properties = Properties(packet)
    for name, value in (values or {}).items():
        if name == "user_property":
            properties.UserProperty = [tuple(pair) for pair in value]
        else:
            setattr(properties, KNOWN[name], bytes.fromhex(value) if name == "correlation" else value)
    return properties


def write_properties(properties):
    """The other way round."""
    values = {"user_property": [list(pair) for pair in getattr(properties, "UserProperty", [])]}
    for name, theirs in KNOWN.items():
        value = getattr(properties, theirs, None)
        if value is not None:
            values[name] = value.hex() if name == "correlation" else value
    return values


class Client:
    """One connection. Acknowledgements carry the library's message ids: `waiting` has the calls they answer."""

    def __init__(self):
        self.mqtt, self.is_5 = None, False
        self.waiting, self.early = {}, {}

    def done(self, mid, code=0):
        with lock:
            call = self.waiting.pop(mid, None)
            if call is None:
                self.early[mid] = code  # the answer was faster than the call
        if call is not None:
            tell("done", id=call, code=code)

    def expect(self, mid, call):
        with lock:
            code = self.early.pop(mid, None)
            if code is None:
                self.waiting[mid] = call
        if code is not None:
            tell("done", id=call, code=code)

    def on_connect(self, _client, _data, _flags, code, _properties=None):
        value = getattr(code, "value", code)
        if value == 0:
            tell("connected")
        else:
            tell("failed", reason=str(code) if self.is_5 else mqtt.connack_string(code), code=value)

    def on_message(self, _client, _data, message):
        tell("message", topic=message.topic, payload=message.payload.hex(), qos=message.qos, retain=bool(message.retain),
             properties=write_properties(message.properties) if self.is_5 else {})

    def on_subscribe(self, _client, _data, mid, granted, _properties=None):
        self.done(mid, getattr(granted[0], "value", granted[0]))

    def connect(self, call):
        self.is_5 = call["version"] == 5
        options = {} if self.is_5 else {"clean_session": call["clean"]}
        self.mqtt = mqtt.Client(call["client_id"], protocol=call["version"], **options)
        self.mqtt.on_connect, self.mqtt.on_message, self.mqtt.on_subscribe = (
            self.on_connect, self.on_message, self.on_subscribe)
        self.mqtt.on_publish = lambda _client, _data, mid: self.done(mid)
        self.mqtt.on_disconnect = lambda *_: tell("lost")
        self.mqtt.reconnect_delay_set(1, 1)
        if "username" in call:
            self.mqtt.username_pw_set(call["username"], call["password"])
        if "will" in call:
            self.mqtt.will_set(call["will"]["topic"], call["will"]["payload"], call["will"]["qos"])
        if "ca" in call:
            self.mqtt.tls_set(call["ca"])
        if self.is_5:
            more = {"clean_start": call["clean"],
                    "properties": read_properties(call.get("properties"), PacketTypes.CONNECT)}
        else:
            more = {}
        try:
            self.mqtt.connect(call["host"], call["port"], call["keepalive"], **more)
            self.mqtt.loop_start()
        except OSError as error:
            tell("failed", reason=str(error), code=0)

    def subscribe(self, call):
        _, mid = self.mqtt.subscribe(call["filter"], call["qos"])
        self.expect(mid, call["id"])

    def publish(self, call):
        more = {"properties": read_properties(call.get("properties"), PacketTypes.PUBLISH)} if self.is_5 else {}
        sent = self.mqtt.publish(call["topic"], bytes.fromhex(call["payload"]), call["qos"], call["retain"], **more)
        self.expect(sent.mid, call["id"])


def main():
    """Reads calls until the input ends, then says goodbye."""
    client = Client()
    for line in sys.stdin:
        call = json.loads(line)
        getattr(client, call["call"])(call)
    if client.mqtt:
        client.mqtt.disconnect()
        client.mqtt.loop_stop()


main()
