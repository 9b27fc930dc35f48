"""The cases for paho-mqtt: `paho_driver.py run|open|resume`, ports and certificates in the environment.

Prints `ok NAME` or `not ok NAME: why` for each case. Waits for events with a deadline, never for time to pass.
"""

import os
import queue
import sys

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

PATIENCE = 20
VERSIONS = {"3.1.1": mqtt.MQTTv311, "5": mqtt.MQTTv5}
TRANSPORTS = ["tcp", "tls", "websocket"]


class Session:
    """A connected client whose messages and answers come through queues."""

    def __init__(self, client_id, version, transport, persistent=False, will=None, clean=True):
        self.version = VERSIONS[version]
        self.messages = queue.Queue()
        self.events = queue.Queue()
        socket_kind = "websockets" if transport == "websocket" else "tcp"
        arguments = {} if self.version == mqtt.MQTTv5 else {"clean_session": not persistent}
        self.client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2,
            client_id=client_id,
            protocol=self.version,
            transport=socket_kind,
            **arguments,
        )
        self.client.on_connect = lambda c, u, flags, reason, p: self.events.put(("connect", flags, reason))
        self.client.on_subscribe = lambda c, u, mid, reasons, p: self.events.put(("subscribe", mid, reasons))
        self.client.on_message = lambda c, u, message: self.messages.put(message)
        if will:
            self.client.will_set(*will)
        host, port = self.endpoint(transport)
        connect = {}
        if self.version == mqtt.MQTTv5:
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = 1000 if persistent else 0
            connect = {"clean_start": clean, "properties": properties}
        self.client.connect(host, port, keepalive=60, **connect)
        self.client.loop_start()
        _, self.flags, reason = self.event("connect")
        assert not reason.is_failure, f"refused: {reason}"

    def endpoint(self, transport):
        if transport == "tls":
            certs = os.environ["CERTS"]
            self.client.tls_set(f"{certs}/ca.pem", f"{certs}/client-device.pem", f"{certs}/client-device-key.pem")
            return "localhost", int(os.environ["TLS_PORT"])
        if transport == "websocket":
            self.client.ws_set_options(path="/mqtt")
            return "127.0.0.1", int(os.environ["WS_PORT"])
        return "127.0.0.1", int(os.environ["TCP_PORT"])

    def event(self, kind):
        while True:
            event = self.events.get(timeout=PATIENCE)
            if event[0] == kind:
                return event

    def subscribe(self, topic, qos):
        self.client.subscribe(topic, qos)
        _, _, reasons = self.event("subscribe")
        assert not any(reason.is_failure for reason in reasons), f"refused: {reasons}"

    def publish(self, topic, payload, qos=0, retain=False, properties=None):
        information = self.client.publish(topic, payload, qos, retain, properties)
        information.wait_for_publish(PATIENCE)
        assert information.is_published(), f"{topic} was not acknowledged"

    def take(self):
        return self.messages.get(timeout=PATIENCE)

    def payloads(self, count):
        return [self.take().payload.decode() for _ in range(count)]

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()

    def die(self):
        """Cuts the connection without DISCONNECT."""
        self.client.loop_stop()
        self.client.socket().close()


def each_qos(name, version, transport):
    session = Session(f"paho-qos-{name}", version, transport)
    for qos in range(3):
        topic = f"p/{name}/q{qos}"
        session.subscribe(topic, qos)
        payloads = [f"{number}" for number in range(20)]
        for payload in payloads:
            session.publish(topic, payload, qos)
        got = [session.take() for _ in payloads]
        assert [m.payload.decode() for m in got] == payloads, f"QoS {qos}: {got}"
        assert all(m.qos == qos and m.topic == topic and not m.retain for m in got)
    large = "x" * 200_000
    session.publish(f"p/{name}/q1", large, 1)
    assert session.take().payload.decode() == large
    session.close()


def retained(name, version, transport):
    session = Session(f"paho-retained-{name}", version, transport)
    topic = f"p/{name}/retained"
    session.publish(topic, "old", 1, retain=True)
    session.publish(topic, "kept", 1, retain=True)
    session.subscribe(topic, 1)
    message = session.take()
    assert (message.payload, message.retain) == (b"kept", True), message.payload
    session.publish(topic, "", 1, retain=True)
    assert session.take().payload == b""
    session.client.unsubscribe(topic)
    session.subscribe(topic, 1)
    session.publish(topic, "live", 1)
    assert session.take().payload == b"live"
    session.close()


def will(name, version, transport):
    watcher = Session(f"paho-watcher-{name}", version, "tcp")
    watcher.subscribe(f"p/{name}/will", 1)
    Session(f"paho-mortal-{name}", version, transport, will=(f"p/{name}/will", "gone", 1, False)).die()
    assert watcher.take().payload == b"gone"
    Session(f"paho-polite-{name}", version, transport, will=(f"p/{name}/will", "not due", 1, False)).close()
    watcher.publish(f"p/{name}/will", "next", 1)
    assert watcher.take().payload == b"next"
    watcher.close()


def shared(name, version, transport):
    members = [Session(f"paho-member-{name}-{number}", version, transport) for number in range(3)]
    for member in members:
        member.subscribe(f"$share/workers/p/{name}/jobs", 1)
    publisher = Session(f"paho-boss-{name}", version, transport)
    everything = Session(f"paho-all-{name}", version, transport)
    everything.subscribe(f"p/{name}/jobs", 1)
    for number in range(30):
        publisher.publish(f"p/{name}/jobs", str(number), 1)
    assert everything.payloads(30) == [str(number) for number in range(30)]
    got = []
    for member in members:
        # What a member's own message passes on its way has arrived before it.
        member.subscribe(f"p/{name}/fence", 1)
        member.publish(f"p/{name}/fence", "fence", 1)
        while (message := member.take()).payload != b"fence":
            got.append(int(message.payload))
        member.client.unsubscribe(f"p/{name}/fence")
    assert sorted(got) == list(range(30)), sorted(got)
    for session in [*members, publisher, everything]:
        session.close()


def properties(name, version, transport):
    if version != "5":
        return
    session = Session(f"paho-properties-{name}", version, transport)
    session.subscribe(f"p/{name}/properties", 1)
    sent = Properties(PacketTypes.PUBLISH)
    sent.ContentType = "text/plain"
    sent.ResponseTopic = "answers"
    sent.CorrelationData = b"\x00\x01"
    sent.MessageExpiryInterval = 100
    sent.UserProperty = [("b", "1"), ("a", "2"), ("b", "3")]
    session.publish(f"p/{name}/properties", "x", 1, properties=sent)
    got = session.take().properties
    assert got.UserProperty == [("b", "1"), ("a", "2"), ("b", "3")], got.UserProperty
    assert (got.ContentType, got.ResponseTopic, got.CorrelationData) == ("text/plain", "answers", b"\x00\x01")
    assert 0 < got.MessageExpiryInterval <= 100
    session.close()


def open_session(version):
    session = Session(f"paho-restart-{version}", version, "tcp", persistent=True, clean=False)
    session.subscribe(f"p/{version}/restart/+", 2)
    session.close()
    publisher = Session(f"paho-writer-{version}", version, "tcp")
    for number in range(20):
        publisher.publish(f"p/{version}/restart/q{number % 2 + 1}", str(number), number % 2 + 1)
    publisher.close()


def by_topic(session, count):
    """The payloads of each topic: MQTT promises their order only there."""
    found = {}
    for _ in range(count):
        message = session.take()
        found.setdefault(message.topic, []).append(message.payload.decode())
    return found


def resume_session(version):
    session = Session(f"paho-restart-{version}", version, "tcp", persistent=True, clean=False)
    assert session.flags.session_present, "the session is lost"
    topic = f"p/{version}/restart"
    due = {f"{topic}/q1": [str(n) for n in range(0, 20, 2)], f"{topic}/q2": [str(n) for n in range(1, 20, 2)]}
    got = by_topic(session, 20)
    assert got == due, got
    session.close()


def case(name, function, *arguments):
    try:
        function(*arguments)
        print(f"ok paho {name}", flush=True)
    except queue.Empty:
        print(f"not ok paho {name}: nothing came within {PATIENCE} s", flush=True)
    except Exception as error:  # noqa: BLE001 a case may fail in any way
        print(f"not ok paho {name}: {type(error).__name__} {error}".replace("\n", " "), flush=True)


def main(phase):
    for version in VERSIONS:
        if phase == "open":
            case(f"{version} session opened", open_session, version)
        elif phase == "resume":
            case(f"{version} persistent session over a restart", resume_session, version)
        else:
            for transport in TRANSPORTS:
                for function in (each_qos, retained, will, shared, properties):
                    name = f"{version}-{transport}"
                    case(f"{version} {transport} {function.__name__}", function, name, version, transport)


main(sys.argv[1])
