//! Good clients among bad ones: the pairs of S2 beside readers that do not read, take-overs, and much that is kept.

use std::time::Duration;

use tokio::runtime::Builder;
use tokio::time;

use crate::broker::Broker;
use crate::figures::Figures;
use crate::figures::Measure;
use crate::link::Link;
use crate::process;
use crate::run;
use crate::run::Pace;
use crate::run::Shape;
use crate::run::Side;
use crate::run::mebibytes;
use crate::scenario::wildcards;
use crate::transport::Target;
use crate::wire;

/// Clients that subscribe to everything the pairs publish and read none of it.
const DEAF: usize = 100;
const SUBSCRIPTIONS: usize = 100_000;
const RETAINED: usize = 100_000;
/// Retained messages that are without acknowledgement.
const RETAINED_WINDOW: usize = 500;
/// From one take-over to the next: 1,000 a minute.
const TAKE_OVER: Duration = Duration::from_millis(60);

pub(super) fn run(broker: &Broker, shape: &Shape, pace: Pace) -> Figures {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let target = broker.target();
    let subscribers = runtime.block_on(wildcards::subscribe(target, SUBSCRIPTIONS));
    runtime.block_on(retain(target));
    let deaf = runtime.block_on(open_deaf(target));
    let before = process::resident(broker.process());
    let takers = {
        let target = target.clone();
        Side::start(async move { take_over(&target).await })
    };
    let mut figures = run::stream(broker, shape, pace);
    takers.check();
    let after = process::resident(broker.process());
    figures.set(Measure::GrownMib, mebibytes(after) - mebibytes(before));
    drop((takers, subscribers, deaf));
    figures
}

async fn open_deaf(target: &Target) -> Vec<Link> {
    let mut deaf = Vec::new();
    for index in 0..DEAF {
        let mut link = Link::open(target, &format!("load-deaf-{index}"), true).await;
        link.subscribe(["load/#"], 1).await;
        deaf.push(link);
    }
    deaf
}

/// One client after the other with the same name, each while the last one is still there.
async fn take_over(target: &Target) {
    let mut ticks = time::interval(TAKE_OVER);
    let mut last = None;
    loop {
        ticks.tick().await;
        last.replace(Link::open(target, "load-taken", false).await);
    }
}

/// Publishes what is kept for later subscribers.
async fn retain(target: &Target) {
    let mut link = Link::open(target, "load-retain", true).await;
    for first in (0..RETAINED).step_by(RETAINED_WINDOW) {
        for index in 0..RETAINED_WINDOW {
            let topic = format!("kept/{}", first + index);
            link.out.extend(wire::publish_retained(&topic, index as u16 + 1, b"kept"));
        }
        link.write().await;
        for _ in 0..RETAINED_WINDOW {
            link.next().await;
        }
    }
    link.close().await;
}
