//! A broker inside a program: started, used without a socket and over one, and ended.
//!
//! ```text
//! cargo run --example embedded_broker -- [COUNT]
//! ```
//!
//! It takes a free port, publishes COUNT messages (10 unless told otherwise) in the process, receives them in the
//! process, and ends. Its data is in a temporary directory.

#![expect(clippy::print_stdout, reason = "an example talks to its reader")]

use std::error::Error;

use tidelog::config::Config;
use tidelog::config::Endpoint;
use tidelog::mqtt::QoS;
use tidelog::server::Running;
use tidelog::server::Server;

fn main() -> Result<(), Box<dyn Error>> {
    let count = std::env::args().nth(1).map_or(Ok(10), |count| count.parse())?;
    let directory = tempfile::tempdir()?;
    let mut config = Config::default();
    config.data.dir = directory.path().join("data");
    for listener in &mut config.listeners {
        listener.endpoint = Endpoint::Tcp("127.0.0.1:0".parse()?);
    }

    // Returns when the data directory is open and verified and the listeners accept.
    let running = Server::new(config).start()?;
    println!("{}", running.startup());

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(talk(&running, count))?;

    // Says goodbye to clients, makes everything durable, and ends.
    running.shutdown()?;
    Ok(())
}

async fn talk(running: &Running, count: u32) -> Result<(), Box<dyn Error>> {
    let mut subscriber = running.link("subscriber").await?;
    subscriber.subscribe("plant/+/celsius", QoS::AtLeastOnce).await?;

    let mut publisher = running.link("publisher").await?;
    for number in 0..count {
        // Returns when the message is on disk.
        let reading = format!("{}.{}", 20 + number / 10, number % 10);
        publisher.publish("plant/a/celsius", reading, QoS::AtLeastOnce, false).await?;
    }

    for _ in 0..count {
        let publish = subscriber.next().await?;
        let topic = publish.topic.as_deref().unwrap_or_default();
        println!("{topic}: {}", String::from_utf8_lossy(&publish.payload));
    }
    publisher.disconnect().await?;
    subscriber.disconnect().await?;
    Ok(())
}
