//! A device with a certificate of its own: TLS both ways, a will, and commands for it.
//!
//! ```text
//! tidelog certs --client thermometer
//! tidelog --listen tls://127.0.0.1:8883 --set ...         # with the certificates, see `tidelog certs`
//! cargo run --example device_tls -- [HOST [PORT [COUNT [CERTIFICATES]]]]
//! ```
//!
//! It publishes COUNT readings (10 unless told otherwise), each at `QoS` 1, and ends when they are acknowledged.
//! CERTIFICATES is the directory that `tidelog certs` wrote to, `certs` unless told otherwise.

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "an example, with files of its own"
)]

use std::error::Error;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use rumqttc::AsyncClient;
use rumqttc::Event;
use rumqttc::LastWill;
use rumqttc::MqttOptions;
use rumqttc::Packet;
use rumqttc::QoS;
use rumqttc::TlsConfiguration;
use rumqttc::Transport;
use tokio_rustls::rustls::crypto::ring;

const DEVICE: &str = "thermometer";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let host = words.next().unwrap_or_else(|| "localhost".to_owned());
    let port = words.next().map_or(Ok(8883), |port| port.parse())?;
    let count: u32 = words.next().map_or(Ok(10), |count| count.parse())?;
    let certificates = words.next().map_or_else(|| PathBuf::from("certs"), PathBuf::from);

    // rumqttc takes the process's default.
    ring::default_provider().install_default().map_err(|_| "TLS is set up already")?;
    let mut options = MqttOptions::new(DEVICE, host, port);
    options.set_keep_alive(Duration::from_secs(10));
    options.set_transport(Transport::Tls(identity(&certificates)?));
    let will = LastWill::new(format!("{DEVICE}/state"), "lost", QoS::AtLeastOnce, true);
    options.set_last_will(will);

    let (client, mut events) = AsyncClient::new(options, 16);
    client.try_publish(format!("{DEVICE}/state"), QoS::AtLeastOnce, true, "up")?;
    let mut published = 0;
    let mut acknowledged = 0;
    // One more than the readings: the state.
    while acknowledged < count + 1 {
        if published < count && published <= acknowledged {
            let reading = format!("{}.{}", 20 + published / 10, published % 10);
            client.try_publish(format!("{DEVICE}/celsius"), QoS::AtLeastOnce, false, reading)?;
            published += 1;
        }
        if let Event::Incoming(Packet::PubAck(_)) = events.poll().await? {
            acknowledged += 1;
        }
    }
    client.try_disconnect()?;
    while events.poll().await.is_ok() {}
    println!("{count} readings are acknowledged");
    Ok(())
}

/// The authority that we trust, and our own certificate.
fn identity(directory: &Path) -> Result<TlsConfiguration, Box<dyn Error>> {
    let read = |name: &str| {
        let path = directory.join(name);
        fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))
    };
    Ok(TlsConfiguration::Simple {
        ca: read("ca.pem")?,
        alpn: None,
        client_auth: Some((
            read(&format!("client-{DEVICE}.pem"))?,
            read(&format!("client-{DEVICE}-key.pem"))?,
        )),
    })
}
