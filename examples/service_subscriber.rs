//! A service that works on every message: manual acknowledgements, a session that survives, reconnection.
//!
//! ```text
//! cargo run --example service_subscriber -- [HOST [PORT [COUNT]]]
//! ```
//!
//! It takes COUNT messages (100 unless told otherwise) from `orders/#` and ends. A message is acknowledged when the work
//! on it is done, so that one whose work was cut off comes again. Start it before the publisher: the messages are then
//! kept for it, also while it is away.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "an example talks to its reader")]

use std::error::Error;
use std::time::Duration;

use rumqttc::v5::AsyncClient;
use rumqttc::v5::Event;
use rumqttc::v5::EventLoop;
use rumqttc::v5::MqttOptions;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::mqttbytes::v5::Publish;
use tokio::time;

const FILTER: &str = "orders/#";

/// How often it tries again before it gives up.
const ATTEMPTS_MAX: u32 = 20;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let host = words.next().unwrap_or_else(|| "127.0.0.1".to_owned());
    let port = words.next().map_or(Ok(1883), |port| port.parse())?;
    let count: u64 = words.next().map_or(Ok(100), |count| count.parse())?;

    let mut options = MqttOptions::new("warehouse-service", host, port);
    options.set_keep_alive(Duration::from_secs(10));
    // The broker keeps the session for an hour: subscriptions and messages are there when we come back.
    options.set_clean_start(false);
    options.set_session_expiry_interval(Some(3_600));
    // Not more than these are sent to us before we acknowledge.
    options.set_receive_maximum(Some(8));
    options.set_manual_acks(true);

    let (client, mut events) = AsyncClient::new(options, 32);
    work(&client, &mut events, count).await?;
    if client.try_disconnect().is_ok() {
        while events.poll().await.is_ok() {}
    }
    println!("{count} messages are done");
    Ok(())
}

async fn work(
    client: &AsyncClient,
    events: &mut EventLoop,
    count: u64,
) -> Result<(), Box<dyn Error>> {
    let mut done = 0;
    let mut failures = 0;
    while done < count {
        match events.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(connack))) => {
                failures = 0;
                if !connack.session_present {
                    client.try_subscribe(FILTER, QoS::AtLeastOnce)?;
                }
            }
            Ok(Event::Incoming(Packet::SubAck(_))) => println!("subscribed to {FILTER}"),
            Ok(Event::Incoming(Packet::Publish(publish))) => {
                handle(&publish);
                client.try_ack(&publish)?;
                done += 1;
            }
            Ok(_) => (),
            Err(error) => {
                // The next poll connects again.
                failures += 1;
                if failures > ATTEMPTS_MAX {
                    return Err(error.into());
                }
                eprintln!("{error}; trying again");
                time::sleep(Duration::from_millis(250)).await;
            }
        }
    }
    Ok(())
}

/// The work. At `QoS` 1 a message may come twice: what is done here has to bear that.
fn handle(publish: &Publish) {
    let topic = String::from_utf8_lossy(&publish.topic);
    println!("{topic}: {}", String::from_utf8_lossy(&publish.payload));
}
