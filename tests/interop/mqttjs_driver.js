// The cases for MQTT.js: `mqttjs_driver.js run|open|resume`, ports and the module's folder in the environment.
//
// Prints `ok NAME` or `not ok NAME: why` for each case. Waits for events with a deadline, never for time to pass.
"use strict";

const assert = require("node:assert");
const fs = require("node:fs");
const mqtt = require(`${process.env.NODE_MODULES}/mqtt`);

const PATIENCE = 20_000;
const VERSIONS = { "3.1.1": 4, 5: 5 };
const TRANSPORTS = ["tcp", "tls", "websocket"];

function url(transport) {
  if (transport === "tls") return `mqtts://localhost:${process.env.TLS_PORT}`;
  if (transport === "websocket") return `ws://127.0.0.1:${process.env.WS_PORT}/mqtt`;
  return `mqtt://127.0.0.1:${process.env.TCP_PORT}`;
}

function certificates(transport) {
  if (transport !== "tls") return {};
  const read = (name) => fs.readFileSync(`${process.env.CERTS}/${name}`);
  return { ca: read("ca.pem"), cert: read("client-device.pem"), key: read("client-device-key.pem") };
}

function within(promise, what) {
  let timer;
  const deadline = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: nothing came within ${PATIENCE / 1000} s`)), PATIENCE);
  });
  return Promise.race([promise, deadline]).finally(() => clearTimeout(timer));
}

/** A connected client whose messages wait in a queue. */
class Session {
  static async open(clientId, version, transport, options = {}) {
    const session = new Session();
    session.queue = [];
    session.waiting = [];
    session.client = mqtt.connect(url(transport), {
      clientId,
      protocolVersion: VERSIONS[version],
      reconnectPeriod: 0,
      clean: true,
      ...certificates(transport),
      ...options,
    });
    session.client.on("message", (topic, payload, packet) => {
      const message = { topic, payload: payload.toString(), packet };
      const next = session.waiting.shift();
      if (next) next(message);
      else session.queue.push(message);
    });
    session.connack = await within(
      new Promise((resolve, reject) => {
        session.client.once("connect", resolve);
        session.client.once("error", reject);
      }),
      "CONNACK",
    );
    session.client.on("error", () => {});
    return session;
  }

  async subscribe(topic, qos) {
    const granted = await within(this.client.subscribeAsync(topic, { qos }), "SUBACK");
    assert.ok(granted.every((g) => g.qos < 0x80), "refused");
  }

  publish(topic, payload, options) {
    return within(this.client.publishAsync(topic, payload, options), "acknowledgement");
  }

  take() {
    const message = this.queue.shift();
    if (message) return Promise.resolve(message);
    return within(new Promise((resolve) => this.waiting.push(resolve)), "message");
  }

  close() {
    return within(this.client.endAsync(), "close");
  }

  /** Cuts the connection without DISCONNECT. */
  die() {
    this.client.stream.destroy();
    return within(this.client.endAsync(true), "end");
  }
}

const numbers = (count) => Array.from({ length: count }, (_, number) => String(number));

const CASES = {
  async each_qos(name, version, transport) {
    const session = await Session.open(`js-qos-${name}`, version, transport);
    for (const qos of [0, 1, 2]) {
      const topic = `j/${name}/q${qos}`;
      await session.subscribe(topic, qos);
      await Promise.all(numbers(20).map((payload) => session.publish(topic, payload, { qos })));
      for (const payload of numbers(20)) {
        const message = await session.take();
        assert.deepStrictEqual([message.topic, message.payload, message.packet.qos], [topic, payload, qos]);
      }
    }
    const large = "x".repeat(200_000);
    await session.publish(`j/${name}/q1`, large, { qos: 1 });
    assert.strictEqual((await session.take()).payload, large);
    await session.close();
  },

  async retained(name, version, transport) {
    const session = await Session.open(`js-retained-${name}`, version, transport);
    const topic = `j/${name}/retained`;
    await session.publish(topic, "kept", { qos: 1, retain: true });
    await session.subscribe(topic, 1);
    const message = await session.take();
    assert.deepStrictEqual([message.payload, message.packet.retain], ["kept", true]);
    await session.publish(topic, "", { qos: 1, retain: true });
    assert.strictEqual((await session.take()).payload, "");
    await session.subscribe(topic, 1);
    await session.publish(topic, "live", { qos: 1 });
    assert.strictEqual((await session.take()).payload, "live");
    await session.close();
  },

  async will(name, version, transport) {
    const watcher = await Session.open(`js-watcher-${name}`, version, "tcp");
    await watcher.subscribe(`j/${name}/will`, 1);
    const will = { topic: `j/${name}/will`, payload: Buffer.from("gone"), qos: 1, retain: false };
    const mortal = await Session.open(`js-mortal-${name}`, version, transport, { will });
    await mortal.die();
    assert.strictEqual((await watcher.take()).payload, "gone");
    const polite = await Session.open(`js-polite-${name}`, version, transport, { will });
    await polite.close();
    await watcher.publish(`j/${name}/will`, "next", { qos: 1 });
    assert.strictEqual((await watcher.take()).payload, "next");
    await watcher.close();
  },

  async shared(name, version, transport) {
    const members = [];
    for (const number of [1, 2, 3]) {
      const member = await Session.open(`js-member-${name}-${number}`, version, transport);
      await member.subscribe(`$share/workers/j/${name}/jobs`, 1);
      members.push(member);
    }
    const publisher = await Session.open(`js-boss-${name}`, version, transport);
    for (const payload of numbers(30)) await publisher.publish(`j/${name}/jobs`, payload, { qos: 1 });
    const got = [];
    for (const member of members) {
      // What a member's own message passes on its way has arrived before it.
      await member.subscribe(`j/${name}/fence`, 1);
      await member.publish(`j/${name}/fence`, "fence", { qos: 1 });
      for (;;) {
        const { payload } = await member.take();
        if (payload === "fence") break;
        got.push(Number(payload));
      }
      await member.client.unsubscribeAsync(`j/${name}/fence`);
    }
    got.sort((a, b) => a - b);
    assert.deepStrictEqual(got, numbers(30).map(Number));
    await Promise.all([...members, publisher].map((session) => session.close()));
  },

  async properties(name, version, transport) {
    if (version !== "5") return;
    const session = await Session.open(`js-properties-${name}`, version, transport);
    await session.subscribe(`j/${name}/properties`, 1);
    const sent = {
      contentType: "text/plain",
      responseTopic: "answers",
      correlationData: Buffer.from([0, 1]),
      userProperties: { b: ["1", "3"], a: "2" },
    };
    await session.publish(`j/${name}/properties`, "x", { qos: 1, properties: sent });
    const { properties } = (await session.take()).packet;
    assert.strictEqual(properties.contentType, "text/plain");
    assert.strictEqual(properties.responseTopic, "answers");
    assert.deepStrictEqual(properties.correlationData, sent.correlationData);
    assert.deepStrictEqual({ ...properties.userProperties }, sent.userProperties);
    await session.close();
  },
};

function persistent(version) {
  return { clean: false, properties: version === "5" ? { sessionExpiryInterval: 1000 } : undefined };
}

async function openSession(version) {
  const session = await Session.open(`js-restart-${version}`, version, "tcp", persistent(version));
  await session.subscribe(`j/${version}/restart/+`, 2);
  await session.close();
  const publisher = await Session.open(`js-writer-${version}`, version, "tcp");
  for (const number of numbers(20)) {
    const qos = (Number(number) % 2) + 1;
    await publisher.publish(`j/${version}/restart/q${qos}`, number, { qos });
  }
  await publisher.close();
}

async function resumeSession(version) {
  const session = await Session.open(`js-restart-${version}`, version, "tcp", persistent(version));
  assert.strictEqual(session.connack.sessionPresent, true, "the session is lost");
  // MQTT promises the order only within a topic.
  const got = { q1: [], q2: [] };
  for (let count = 0; count < 20; count += 1) {
    const { topic, payload } = await session.take();
    got[topic.split("/").pop()].push(payload);
  }
  const half = (odd) => numbers(20).filter((number) => Number(number) % 2 === odd);
  assert.deepStrictEqual(got, { q1: half(0), q2: half(1) });
  await session.close();
}

async function check(name, run) {
  try {
    await run();
    console.log(`ok MQTT.js ${name}`);
  } catch (error) {
    console.log(`not ok MQTT.js ${name}: ${String(error.message).replaceAll("\n", " ")}`);
  }
}

async function main(phase) {
  for (const version of Object.keys(VERSIONS)) {
    if (phase === "open") await check(`${version} session opened`, () => openSession(version));
    else if (phase === "resume") await check(`${version} persistent session over a restart`, () => resumeSession(version));
    else {
      for (const transport of TRANSPORTS) {
        for (const [kind, run] of Object.entries(CASES)) {
          await check(`${version} ${transport} ${kind}`, () => run(`${version}-${transport}`, version, transport));
        }
      }
    }
  }
  // A client of a failed case may still hold a socket.
  process.exit(0);
}

main(process.argv[2]);
