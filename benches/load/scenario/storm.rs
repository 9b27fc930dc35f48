//! Many clients connect as fast as they can, and then do nothing.

use std::net::Ipv4Addr;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use rustix::process::Resource;
use rustix::process::getrlimit;
use tokio::runtime::Builder;
use tokio::task::JoinSet;

use crate::broker::Broker;
use crate::figures::Figures;
use crate::figures::Measure;
use crate::link::Link;
use crate::process;
use crate::scenario::Scale;
use crate::transport::Target;

/// How many connects are under way.
const WINDOW: usize = 64;
/// Open files beside the connections, ours and the broker's.
const OTHER_FILES: u64 = 200;
/// Connections from one source address: it has about 28,000 ports, and the last ones are long looked for.
const CONNECTIONS_PER_ADDRESS: usize = 4_000;
/// How long what nobody uses any more may be given back, before it is idle that counts.
const REST: Duration = Duration::from_secs(1);

pub(super) fn run(broker: &Broker, scale: &Scale) -> Figures {
    let connections = scale.connections.min(allowed());
    let before = process::resident(broker.process());
    let busy = process::processor_time(broker.process());
    let begun = Instant::now();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let links = runtime.block_on(open_all(broker.target(), connections));
    let took = begun.elapsed().as_secs_f64();
    let busy = process::processor_time(broker.process()).saturating_sub(busy).as_secs_f64();
    thread::sleep(REST);
    let grown = process::resident(broker.process()).saturating_sub(before);
    let idle = process::processor_time(broker.process());
    thread::sleep(scale.pace.measured);
    let idle = process::processor_time(broker.process()).saturating_sub(idle).as_secs_f64();
    let mut figures = Figures::default();
    figures.set(Measure::Rate, connections as f64 / took);
    figures.set(Measure::BrokerMicros, busy * 1e6 / connections as f64);
    figures.set(Measure::ConnectionBytes, grown as f64 / connections as f64);
    figures.set(Measure::IdlePercent, 100.0 * idle / scale.pace.measured.as_secs_f64());
    drop(links);
    figures
}

fn allowed() -> usize {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(files.saturating_sub(OTHER_FILES)).unwrap()
}

async fn open_all(target: &Target, connections: usize) -> Vec<Link> {
    let mut workers = JoinSet::new();
    for worker in 0..WINDOW {
        let target = target.clone();
        workers.spawn(async move {
            let mut links = Vec::new();
            for index in (worker..connections).step_by(WINDOW) {
                let host = u8::try_from(1 + index / CONNECTIONS_PER_ADDRESS).unwrap();
                let source = Some(Ipv4Addr::new(127, 0, 0, host));
                let name = format!("load-idle-{index}");
                links.push(Link::open_from(&target, source, &name, true).await);
            }
            links
        });
    }
    let mut links = Vec::new();
    while let Some(opened) = workers.join_next().await {
        links.extend(opened.unwrap());
    }
    links
}
