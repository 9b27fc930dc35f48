//! One publisher that waits for each PUBACK: what a single acknowledgement takes.
//!
//! The socket blocks, because nothing else tells sooner that an answer has come.

use std::io::Read;
use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;
use std::time::Instant;

use crate::broker::Broker;
use crate::figures::Figures;
use crate::figures::Measure;
use crate::histogram::Histogram;
use crate::process;
use crate::run::Pace;
use crate::scenario::table::PAYLOAD;
use crate::wire;
use crate::wire::Template;

/// A PUBACK takes so many bytes.
const PUBACK_BYTES: usize = 4;

pub(super) fn run(broker: &Broker, pace: Pace) -> Figures {
    let mut stream = TcpStream::connect(broker.target().address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.write_all(&wire::connect("load-lockstep", true)).unwrap();
    let mut answer = [0; PUBACK_BYTES];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer, [0x20, 2, 0, 0], "refused");
    exchange(&mut stream, pace.warm);
    let (broker_before, own_before) = times(broker);
    let switches_before = process::context_switches(broker.process());
    let (taken, messages) = exchange(&mut stream, pace.measured);
    let (broker_after, own_after) = times(broker);
    let messages = messages as f64;
    let micros = |after: Duration, before: Duration| {
        after.saturating_sub(before).as_secs_f64() * 1e6 / messages
    };
    let mut figures = Figures::default();
    figures.set(Measure::Rate, messages / pace.measured.as_secs_f64());
    figures.set(Measure::BrokerMicros, micros(broker_after, broker_before));
    figures.set(Measure::LoadMicros, micros(own_after, own_before));
    let switches = process::context_switches(broker.process()) - switches_before;
    figures.set(Measure::Switches, switches as f64 / messages);
    figures.set_some(Measure::AckP50, taken.micros_at(0.5));
    figures.set_some(Measure::AckP99, taken.micros_at(0.99));
    figures
}

/// Publishes one after the other for a while. Returns how long each took, and how many they were.
fn exchange(stream: &mut TcpStream, length: Duration) -> (Histogram, u64) {
    let template = Template::new("load/lockstep", 1, PAYLOAD);
    let histogram = Histogram::default();
    let (mut messages, mut packet) = (0, Vec::new());
    let begun = Instant::now();
    while begun.elapsed() < length {
        let packet_id = (messages % u64::from(u16::MAX)) as u16 + 1;
        packet.clear();
        template.append(&mut packet, packet_id, 0, messages, 0);
        let sent = Instant::now();
        stream.write_all(&packet).unwrap();
        let mut answer = [0; PUBACK_BYTES];
        stream.read_exact(&mut answer).unwrap();
        histogram.record(sent.elapsed().as_nanos() as u64);
        assert_eq!(answer, wire::answer(wire::TYPE_PUBACK, packet_id));
        messages += 1;
    }
    (histogram, messages)
}

fn times(broker: &Broker) -> (Duration, Duration) {
    (process::processor_time(broker.process()), process::processor_time(std::process::id()))
}
