//! A hundred sessions are away while messages are published for them; then they come back, ours after a kill and a restart.
//!
//! The others hold the backlog in memory and would lose it, so they are not restarted.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::Instant;

use tokio::runtime::Builder;
use tokio::task::JoinSet;

use crate::broker::Broker;
use crate::figures::Figures;
use crate::figures::Measure;
use crate::flow::Flow;
use crate::link::Link;
use crate::process;
use crate::publisher::Task;
use crate::run;
use crate::run::Side;
use crate::run::forever;
use crate::run::mebibytes;
use crate::subscriber::Subscriber;
use crate::transport::Target;

const SESSIONS: usize = 100;
const PAYLOAD: usize = 256;
const WINDOW: u16 = 100;

pub(super) fn run(broker: &mut Broker, restarts: bool, messages: u64) -> Figures {
    let fresh = process::resident(broker.process());
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(leave_sessions(broker.target()));
    let each = (messages / SESSIONS as u64).max(1);
    fill(broker, each);
    let mut figures = Figures::default();
    if restarts {
        figures.set(Measure::StartSeconds, broker.restart().as_secs_f64());
    }
    let holding = process::resident(broker.process());
    figures.set(Measure::GrownMib, mebibytes(holding) - mebibytes(fresh));
    drain(broker, each, &mut figures);
    figures.set(Measure::PeakMib, mebibytes(process::resident_peak(broker.process())));
    figures
}

fn session(index: usize) -> String {
    format!("load-session-{index}")
}

/// Makes the sessions, which then go away.
async fn leave_sessions(target: &Target) {
    for index in 0..SESSIONS {
        let mut link = Link::open(target, &session(index), false).await;
        link.subscribe([format!("backlog/{index}").as_str()], 1).await;
        link.close().await;
    }
}

/// Publishes so many messages for each session.
fn fill(broker: &Broker, each: u64) {
    let flow = Arc::new(Flow::new(SESSIONS, 0, 0));
    let task = |index| Task {
        index,
        topic: format!("backlog/{index}"),
        qos: 1,
        window: WINDOW,
        payload: PAYLOAD,
        messages: each,
    };
    let tasks = (0..SESSIONS).map(task).collect();
    let publishers = run::start_publishers(&flow, broker.target(), tasks);
    let finished = || flow.finished.load(Ordering::Acquire) == SESSIONS;
    run::settle(&flow, finished, || publishers.check());
    assert!(finished(), "not all was acknowledged");
}

/// Has all sessions come back, until each has everything.
fn drain(broker: &Broker, each: u64, figures: &mut Figures) {
    let flow = Arc::new(Flow::new(SESSIONS, 1, 0));
    for publisher in 0..SESSIONS {
        flow.publish(publisher, each);
    }
    let busy = process::processor_time(broker.process());
    let begun = Instant::now();
    let subscribers = start_subscribers(&flow, broker.target());
    run::settle(&flow, || flow.missing() == 0, || subscribers.check());
    let took = begun.elapsed().as_secs_f64();
    let busy = process::processor_time(broker.process()).saturating_sub(busy).as_secs_f64();
    let messages = flow.delivered().max(1) as f64;
    figures.set(Measure::Rate, messages / took);
    figures.set(Measure::BrokerMicros, busy * 1e6 / messages);
    figures.set(Measure::Lost, flow.missing() as f64);
    figures.set(Measure::Repeated, flow.repeated.load(Ordering::Relaxed) as f64);
}

fn start_subscribers(flow: &Arc<Flow>, target: &Target) -> Side {
    let (flow, target) = (Arc::clone(flow), target.clone());
    let (ready, connected) = mpsc::channel();
    let side = Side::start(async move {
        let mut at_work = JoinSet::new();
        for index in 0..SESSIONS {
            let link = Link::open(&target, &session(index), false).await;
            let mut subscriber = Subscriber::new(link, Arc::clone(&flow), SESSIONS);
            at_work.spawn(async move { poll_fn(|cx| subscriber.poll(cx)).await });
        }
        ready.send(()).unwrap();
        forever(at_work).await;
    });
    connected.recv().expect("all come back");
    side
}
