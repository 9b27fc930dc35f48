//! Scratch.
use bytes::BytesMut;
use std::sync::Arc;
use tidelog::access::{Access, Options as AccessOptions};
use tidelog::broker::*;
use tidelog::commitlog::disk::MemoryDisk;
use tidelog::commitlog::{Reader, Writer};
use tidelog::mqtt::*;
use tidelog::store::*;
use tidelog::time::Timestamp;

struct World {
    broker: Broker,
    writer: Writer,
    reader: Reader,
    cp: Checkpointer,
    now: u64,
    out: std::collections::BTreeMap<u64, (BytesMut, Decoder)>,
    closed: Vec<u64>,
    disk: Arc<MemoryDisk>,
}
impl World {
    fn new(disk: Arc<MemoryDisk>, now: u64) -> World {
        let opened = Store::open(
            disk.clone(),
            Box::new(MemoryStateStore::default()),
            tidelog::store::Options::default(),
            Timestamp::from_micros(now),
            &mut |_| {},
        )
        .unwrap();
        let access = Access::new(
            AccessOptions { remember_passwords: std::time::Duration::ZERO, secret: [0; 32] },
            None,
            None,
        )
        .unwrap();
        let broker = Broker::new(
            tidelog::broker::Options::default(),
            opened.store,
            access,
            [7; 32],
            Timestamp::from_micros(now),
        );
        let mut w = World {
            broker,
            writer: opened.writer,
            reader: opened.reader,
            cp: opened.checkpointer,
            now,
            out: Default::default(),
            closed: vec![],
            disk,
        };
        w.tick(0);
        w
    }
    fn drain(&mut self) {
        while let Some(o) = self.broker.poll_output() {
            let now = Timestamp::from_micros(self.now);
            match o {
                Output::Write { connection, chunks } => {
                    let mut n = 0;
                    for c in chunks {
                        n += c.len();
                        self.out.get_mut(&connection.0).unwrap().0.extend_from_slice(&c);
                    }
                    self.broker.handle(now, Event::Drained { connection, bytes: n });
                }
                Output::Close { connection } => {
                    self.closed.push(connection.0);
                    self.broker.handle(now, Event::Closed { connection });
                }
                Output::Commit(b) => {
                    let r = self.writer.commit(&b, tidelog::commitlog::Durability::Fsync);
                    self.broker.handle(now, Event::Committed(r));
                }
                Output::Fetch { ticket, request } => {
                    let r = self.reader.read(&request);
                    self.broker.handle(now, Event::Fetched { ticket, result: r });
                }
                Output::Checkpoint(c) => {
                    let r = self.cp.run(&c);
                    self.broker.handle(now, Event::Checkpointed(r));
                }
                o => panic!("{o:?}"),
            }
        }
    }
    fn tick(&mut self, by: u64) {
        self.now += by;
        self.broker.handle(Timestamp::from_micros(self.now), Event::Tick);
        self.drain();
    }
    fn open(&mut self, id: u64, v: ProtocolVersion) {
        self.out.insert(id, (BytesMut::new(), Decoder::for_client(v, 1 << 28)));
        self.broker.handle(
            Timestamp::from_micros(self.now),
            Event::Opened {
                connection: ConnectionId(id),
                origin: Origin {
                    listener: "l".into(),
                    peer: "p".into(),
                    anonymous: true,
                    certificate_name: None,
                },
            },
        );
        self.drain();
    }
    fn send(&mut self, id: u64, v: ProtocolVersion, p: Packet) {
        let mut b = BytesMut::new();
        p.encode(v, &mut b).unwrap();
        self.now += 10;
        self.broker.handle(
            Timestamp::from_micros(self.now),
            Event::Received { connection: ConnectionId(id), input: &mut b },
        );
        assert!(b.is_empty());
        self.drain();
    }
    fn recv(&mut self, id: u64) -> Vec<Packet> {
        let (b, d) = self.out.get_mut(&id).unwrap();
        let mut v = vec![];
        while let Some(p) = d.decode(b).unwrap() {
            v.push(p)
        }
        v
    }
    fn connect(
        &mut self,
        id: u64,
        v: ProtocolVersion,
        name: &'static str,
        clean: bool,
    ) -> Vec<Packet> {
        self.open(id, v);
        let mut c = Connect::new(v, Text::from_static(name));
        c.clean_start = clean;
        if v.is_v5() && !clean {
            c.session_expiry_interval = Some(u32::MAX)
        }
        self.send(id, v, Packet::Connect(Box::new(c)));
        self.recv(id)
    }
    fn sub(&mut self, id: u64, v: ProtocolVersion, f: &str, qos: QoS) -> Vec<Packet> {
        let s = Subscribe {
            packet_id: PacketId::new(1).unwrap(),
            subscription_id: None,
            user_properties: vec![],
            filters: vec![SubscribeFilter {
                filter: SubscriptionFilter::parse(f).unwrap(),
                options: SubscriptionOptions { qos, ..Default::default() },
            }],
        };
        self.send(id, v, Packet::Subscribe(Box::new(s)));
        self.recv(id)
    }
    fn publish(
        &mut self,
        id: u64,
        v: ProtocolVersion,
        t: &str,
        qos: QoS,
        pid: u16,
        retain: bool,
        payload: &str,
    ) -> Vec<Packet> {
        let mut p = Publish::new(TopicName::try_from(t).unwrap(), payload.to_owned().into());
        p.qos = qos;
        p.retain = retain;
        p.packet_id = PacketId::new(pid).filter(|_| qos > QoS::AtMostOnce);
        self.send(id, v, Packet::Publish(Box::new(p)));
        self.recv(id)
    }
}
#[test]
fn smoke() {
    let v = ProtocolVersion::V5;
    let mut w = World::new(Arc::new(MemoryDisk::new()), 1_000_000);
    println!("{:?}", w.connect(1, v, "pub", true));
    println!("{:?}", w.connect(2, ProtocolVersion::V3_1_1, "sub", false));
    println!("{:?}", w.sub(2, ProtocolVersion::V3_1_1, "a/#", QoS::ExactlyOnce));
    println!("{:?}", w.publish(1, v, "a/b", QoS::AtMostOnce, 0, false, "zero"));
    println!("{:?}", w.recv(2));
    println!("{:?}", w.publish(1, v, "a/b", QoS::AtLeastOnce, 1, true, "one"));
    println!("{:?}", w.publish(1, v, "a/b", QoS::ExactlyOnce, 2, false, "two"));
    println!("{:?}", w.recv(2));
    println!(
        "group {:?} {:?}",
        w.connect(3, v, "g1", true),
        w.sub(3, v, "$share/g/a/b", QoS::AtLeastOnce)
    );
    println!(
        "retained {:?} {:?}",
        w.connect(4, v, "r1", false),
        w.sub(4, v, "a/b", QoS::AtLeastOnce)
    );
    println!("late {:?}", w.recv(4));
    println!("{:?}", w.publish(1, v, "a/b", QoS::AtLeastOnce, 4, false, "three"));
    for i in 2..5 {
        println!("{i} {:?}", w.recv(i));
    }
    let disk = w.disk.clone();
    w.tick(2_000_000);
    let now = w.now;
    drop(w);
    disk.crash(7);
    let mut w = World::new(disk, now + 1_000_000);
    println!("resumed {:?}", w.connect(2, ProtocolVersion::V3_1_1, "sub", false));
    println!("late {:?}", w.recv(2));
    println!("resumed {:?}", w.connect(4, v, "r1", false));
    println!("{:?}", w.broker.sys_values());
}
