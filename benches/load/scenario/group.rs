//! 500 publishers, 20 messages a second each, at QoS 1, and a shared group of five: what a message takes when there is no hurry.
//!
//! Messages are sent when they are due, evenly spread, whatever became of those before; times count from when a message was due.

use std::future::poll_fn;
use std::io::Write;
use std::net::TcpStream;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::broker::Broker;
use crate::figures::Figures;
use crate::figures::Measure;
use crate::flow::Flow;
use crate::link::Link;
use crate::run;
use crate::run::Pace;
use crate::run::Side;
use crate::run::forever;
use crate::scenario::table::PAYLOAD;
use crate::subscriber::Subscriber;
use crate::transport::Target;
use crate::wire::Template;

const PUBLISHERS: usize = 500;
const MEMBERS: usize = 5;
/// Nanoseconds from one message to the next, all publishers together.
const STEP_NANOS: u64 = 100_000;
/// How exactly the thread that publishes is woken.
const SLACK_NANOS: NonZeroU64 = NonZeroU64::new(1_000).unwrap();

pub(super) fn run(broker: &Broker, pace: Pace) -> Figures {
    let flow = Arc::new(Flow::new(PUBLISHERS, 1, pace.ahead));
    let members = start_members(&flow, broker.target());
    let (acknowledgements, sockets) = start_publishers(&flow, broker.target());
    let publishing = {
        let flow = Arc::clone(&flow);
        thread::spawn(move || publish(&flow, sockets))
    };
    let mut figures = run::measure(broker, &flow, pace);
    flow.stop();
    publishing.join().expect("the publishers go on");
    run::settle(
        &flow,
        || flow.missing() == 0,
        || {
            members.check();
            acknowledgements.check();
        },
    );
    figures.set(Measure::Lost, flow.missing() as f64);
    figures.set(Measure::Repeated, flow.repeated.load(Ordering::Relaxed) as f64);
    figures
}

/// Publishes each message when it is due.
fn publish(flow: &Flow, mut sockets: Vec<TcpStream>) {
    rustix::thread::set_current_timer_slack(Some(SLACK_NANOS)).unwrap();
    let templates: Vec<Template> =
        (0..PUBLISHERS).map(|index| Template::new(&format!("load/{index}"), 1, PAYLOAD)).collect();
    let mut packet = Vec::new();
    let mut due = flow.now();
    let mut count: u64 = 0;
    while !flow.is_stopping() {
        let now = flow.now();
        if now < due {
            thread::sleep(Duration::from_nanos(due - now));
        }
        let publisher = (count % PUBLISHERS as u64) as usize;
        let number = count / PUBLISHERS as u64;
        let packet_id = (number % u64::from(u16::MAX)) as u16 + 1;
        packet.clear();
        templates[publisher].append(&mut packet, packet_id, publisher, number, due);
        sockets[publisher].write_all(&packet).expect("few bytes are always taken");
        flow.publish(publisher, 1);
        count += 1;
        due += STEP_NANOS;
    }
}

fn start_members(flow: &Arc<Flow>, target: &Target) -> Side {
    let (flow, target) = (Arc::clone(flow), target.clone());
    let (ready, subscribed) = mpsc::channel();
    let side = Side::start(async move {
        let mut at_work = JoinSet::new();
        for index in 0..MEMBERS {
            let mut link = Link::open(&target, &format!("load-member-{index}"), true).await;
            link.subscribe(["$share/load/load/+"], 1).await;
            let mut member = Subscriber::of_group(link, Arc::clone(&flow));
            at_work.spawn(async move { poll_fn(|cx| member.poll(cx)).await });
        }
        ready.send(()).unwrap();
        forever(at_work).await;
    });
    subscribed.recv().expect("all subscribe");
    side
}

/// Connects the publishers. One thread takes the acknowledgements, the sockets are written to by another.
fn start_publishers(flow: &Arc<Flow>, target: &Target) -> (Side, Vec<TcpStream>) {
    let (flow, target) = (Arc::clone(flow), target.clone());
    let (ready, connected) = mpsc::channel();
    let side = Side::start(async move {
        let mut at_work = JoinSet::new();
        let mut sockets = Vec::new();
        for index in 0..PUBLISHERS {
            let mut link = Link::open(&target, &format!("load-pub-{index}"), true).await;
            sockets.push(link.plain());
            let flow = Arc::clone(&flow);
            at_work.spawn(async move {
                loop {
                    poll_fn(|cx| {
                        link.poll_frames(cx, |_, _| {
                            flow.acknowledged.fetch_add(1, Ordering::Relaxed);
                        })
                    })
                    .await;
                }
            });
        }
        ready.send(sockets).unwrap();
        forever(at_work).await;
    });
    (side, connected.recv().expect("all connect"))
}
