//! A service that publishes so that nothing is lost: `QoS` 1, a session that survives, reconnection.
//!
//! ```text
//! cargo run --example service_publisher -- [HOST [PORT [COUNT]]]
//! ```
//!
//! It publishes COUNT messages (100 unless told otherwise) to `orders/new`, and ends when every one of them has been
//! acknowledged, which with tidelog means: is on disk.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "an example talks to its reader")]

use std::collections::VecDeque;
use std::error::Error;
use std::time::Duration;

use rumqttc::v5::AsyncClient;
use rumqttc::v5::Event;
use rumqttc::v5::EventLoop;
use rumqttc::v5::MqttOptions;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::mqttbytes::v5::PubAckReason;
use tokio::time;

const TOPIC: &str = "orders/new";

/// How often it tries again before it gives up.
const ATTEMPTS_MAX: u32 = 20;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let host = words.next().unwrap_or_else(|| "127.0.0.1".to_owned());
    let port = words.next().map_or(Ok(1883), |port| port.parse())?;
    let count = words.next().map_or(Ok(100), |count| count.parse())?;

    let mut options = MqttOptions::new("order-service", host, port);
    options.set_keep_alive(Duration::from_secs(10));
    // With these two the broker keeps the session, and with it the packet ids, over a cut connection.
    options.set_clean_start(false);
    options.set_session_expiry_interval(Some(3_600));

    let (client, events) = AsyncClient::new(options, 32);
    let mut publisher =
        Publisher { client, events, unacknowledged: VecDeque::new(), acknowledged: 0 };
    publisher.run(count).await?;
    println!("{count} messages are acknowledged");
    Ok(())
}

/// Publishes, and keeps what is not acknowledged.
struct Publisher {
    client: AsyncClient,
    events: EventLoop,
    /// Numbers of messages that were handed to the client, oldest first.
    unacknowledged: VecDeque<u64>,
    acknowledged: u64,
}

impl Publisher {
    async fn run(&mut self, count: u64) -> Result<(), Box<dyn Error>> {
        let mut next = 0;
        let mut failures = 0;
        while self.acknowledged < count {
            // As many as the client takes without waiting; the rest when acknowledgements have come.
            while next < count && self.unacknowledged.len() < 16 && self.hand_over(next) {
                next += 1;
            }
            match self.events.poll().await {
                Ok(Event::Incoming(packet)) => {
                    failures = 0;
                    self.handle(packet)?;
                }
                Ok(Event::Outgoing(_)) => (),
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
        self.say_goodbye().await;
        Ok(())
    }

    fn hand_over(&mut self, number: u64) -> bool {
        let taken =
            self.client.try_publish(TOPIC, QoS::AtLeastOnce, false, format!("order {number}"));
        if taken.is_ok() {
            self.unacknowledged.push_back(number);
        }
        taken.is_ok()
    }

    fn handle(&mut self, packet: Packet) -> Result<(), Box<dyn Error>> {
        if let Packet::ConnAck(connack) = &packet
            && !connack.session_present
        {
            // rumqttc forgets what it had sent to a session that is gone: hand it over again.
            for number in std::mem::take(&mut self.unacknowledged) {
                self.hand_over(number);
            }
        }
        if let Packet::PubAck(puback) = packet {
            let taken = [PubAckReason::Success, PubAckReason::NoMatchingSubscribers];
            if !taken.contains(&puback.reason) {
                return Err(format!("a message was refused: {:?}", puback.reason).into());
            }
            self.unacknowledged.pop_front();
            self.acknowledged += 1;
        }
        Ok(())
    }

    /// Sends the DISCONNECT; the event loop ends with an error when that is done.
    async fn say_goodbye(&mut self) {
        if self.client.try_disconnect().is_ok() {
            while self.events.poll().await.is_ok() {}
        }
    }
}
