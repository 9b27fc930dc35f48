//! Topics that nobody has seen before, each once, while there are many wildcard subscriptions over a deep tree: what it costs to match.

use std::future::poll_fn;
use std::time::Instant;

use tokio::runtime::Builder;

use crate::broker::Broker;
use crate::figures::Figures;
use crate::figures::Measure;
use crate::link::Link;
use crate::process;
use crate::run::mebibytes;
use crate::transport::Target;
use crate::wire;
use crate::wire::Template;

/// Subscriptions of one client.
const FILTERS_PER_CLIENT: usize = 5_000;
/// Filters in one SUBSCRIBE.
const FILTERS_PER_PACKET: usize = 100;
/// Topics that are published before the broker is asked whether it is with us.
const ROUND: u64 = 1_000;
/// Bytes of a payload.
const PAYLOAD: usize = 32;

pub(super) fn run(broker: &Broker, filters: usize, messages: u64) -> Figures {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let subscribers = runtime.block_on(subscribe(broker.target(), filters));
    let before = process::resident(broker.process());
    let busy = process::processor_time(broker.process());
    let begun = Instant::now();
    runtime.block_on(publish(broker.target(), messages));
    let took = begun.elapsed().as_secs_f64();
    let busy = process::processor_time(broker.process()).saturating_sub(busy).as_secs_f64();
    let after = process::resident(broker.process());
    let mut figures = Figures::default();
    figures.set(Measure::Rate, messages as f64 / took);
    figures.set(Measure::BrokerMicros, busy * 1e6 / messages as f64);
    figures.set(Measure::GrownMib, mebibytes(after) - mebibytes(before));
    figures.set(Measure::PeakMib, mebibytes(process::resident_peak(broker.process())));
    drop(subscribers);
    figures
}

/// Clients that have so many wildcard subscriptions in all.
pub(super) async fn subscribe(target: &Target, filters: usize) -> Vec<Link> {
    let mut links = Vec::new();
    for first in (0..filters).step_by(FILTERS_PER_CLIENT) {
        let mut link = Link::open(target, &format!("load-wild-{first}"), true).await;
        let own: Vec<String> =
            (first..filters.min(first + FILTERS_PER_CLIENT)).map(filter).collect();
        for some in own.chunks(FILTERS_PER_PACKET) {
            link.subscribe(some.iter().map(String::as_str), 0).await;
        }
        links.push(link);
    }
    links
}

/// Filters of all forms, none of which matches a topic of [`publish`] to its end.
fn filter(index: usize) -> String {
    let (site, line, device) = (index % 50, index / 50 % 40, index);
    match index % 4 {
        0 => format!("site/{site}/+/line/{line}/device/{device}/#"),
        1 => format!("site/+/hall/+/line/{line}/sensor/{device}"),
        2 => format!("+/{site}/hall/{line}/+/+/{device}/+"),
        _ => format!("site/{site}/hall/+/+/+/{device}"),
    }
}

/// Publishes to each topic once, at QoS 0; a PINGREQ now and then shows that all was taken.
async fn publish(target: &Target, messages: u64) {
    let mut link = Link::open(target, "load-pub-wild", true).await;
    for first in (0..messages).step_by(ROUND as usize) {
        for number in first..messages.min(first + ROUND) {
            let (site, hall) = (number % 50, number / 50 % 20);
            let topic = format!("site/{site}/hall/{hall}/line/{}/value/n{number}", number % 40);
            Template::new(&topic, 0, PAYLOAD).append(&mut link.out, 0, 0, number, 0);
        }
        link.out.extend(wire::PINGREQ);
        poll_fn(|cx| link.poll_write(cx)).await;
        let (first_byte, _) = link.next().await;
        assert_eq!(first_byte, wire::PINGRESP);
    }
    link.close().await;
}
