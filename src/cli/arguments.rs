//! The flags that `pub`, `sub` and `bench` share: where the broker is, who we are, how we are protected.

use std::fmt::Display;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::Path;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use clap::ArgAction;
use clap::Args;
use clap::ValueEnum;
use tokio_rustls::rustls;
use tokio_rustls::rustls::SupportedProtocolVersion;

use super::Failure;
use super::client::ClientError;
use super::client::Options;
use super::client::tls::Tls;
use super::client::tls::TlsIdentity;
use super::client::tls::TlsOptions;
use super::client::transport::Address;
use super::client::transport::Endpoint;
use super::file;
use super::property::Properties;
use super::terminal;
use crate::mqtt::Connect;
use crate::mqtt::ProtocolVersion;
use crate::mqtt::QoS;
use crate::mqtt::Text;
use crate::mqtt::TopicName;
use crate::mqtt::Will;

/// The longest PEM file that is read.
const PEM_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Where systems keep the certificates that they trust.
const SYSTEM_CERTIFICATES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The flags of what lists.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub(crate) struct LsArgs {
    #[command(flatten)]
    pub(crate) connect: Box<ConnectArgs>,
    /// Print a JSON object a line.
    #[arg(long)]
    pub(crate) json: bool,
}

/// The connection's flags.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "one for each flag")]
pub(crate) struct ConnectArgs {
    /// Host to connect to.
    #[arg(short = 'h', long, value_name = "HOST", default_value = "localhost")]
    host: String,
    /// Port to connect to; 1883, or 8883 with TLS.
    #[arg(short = 'p', long, value_name = "PORT", value_parser = number(1..=u16::MAX))]
    port: Option<u16>,
    /// Connect through this Unix socket instead of TCP.
    #[arg(long, value_name = "PATH", conflicts_with_all = ["port", "url", "bind"])]
    unix: Option<PathBuf>,
    /// Connect to mqtt(s)://[user[:password]@]host[:port]/topic.
    #[arg(short = 'L', long, value_name = "URL", conflicts_with_all = ["host", "port"])]
    url: Option<String>,
    /// Connect from this address.
    #[arg(short = 'A', value_name = "ADDRESS")]
    bind: Option<IpAddr>,
    /// Speak MQTT over WebSocket.
    #[arg(long)]
    ws: bool,
    /// The WebSocket's path.
    #[arg(long, value_name = "PATH", default_value = "/mqtt")]
    ws_path: String,
    /// Accepted for compatibility: small packets are never held back.
    #[arg(long)]
    nodelay: bool,

    /// Client id; with -V 5 the broker gives one otherwise, else it is made up.
    #[arg(short = 'i', long, value_name = "ID")]
    id: Option<String>,
    /// Client id made of this prefix and the process id.
    #[arg(short = 'I', long, value_name = "PREFIX", conflicts_with = "id")]
    id_prefix: Option<String>,
    /// User name.
    #[arg(short = 'u', long, value_name = "NAME", allow_hyphen_values = true)]
    username: Option<String>,
    /// Password.
    #[arg(short = 'P', long = "pw", value_name = "PASSWORD", allow_hyphen_values = true)]
    password: Option<String>,
    /// Log in by SCRAM-SHA-256: the password is not sent. Needs -u and -P; implies -V 5.
    #[arg(long, requires = "username", requires = "password")]
    scram: bool,
    /// Protocol version: 31, 311 or 5 (also mqttv31, mqttv311, mqttv5).
    #[arg(short = 'V', long, value_name = "VERSION")]
    protocol_version: Option<Version>,
    /// Keep the session: with the same -i its subscriptions and messages are there the next time.
    #[arg(short = 'c', long)]
    disable_clean_session: bool,
    /// Seconds that the session outlives the connection; -1 or ∞ for ever. Only with -V 5.
    #[arg(short = 'x', long, value_name = "SECONDS", allow_negative_numbers = true, value_parser = parse_expiry)]
    session_expiry_interval: Option<u32>,
    /// Seconds between two signs of life; 0 for none.
    #[arg(short = 'k', long, value_name = "SECONDS", default_value_t = 60, value_parser = number(0..=u16::MAX))]
    keepalive: u16,

    /// Topic of the Will.
    #[arg(long, value_name = "TOPIC")]
    will_topic: Option<String>,
    /// Payload of the Will.
    #[arg(long, value_name = "PAYLOAD", requires = "will_topic", allow_hyphen_values = true)]
    will_payload: Option<String>,
    /// Quality of service of the Will.
    #[arg(long, value_name = "QOS", requires = "will_topic", value_parser = parse_qos)]
    will_qos: Option<QoS>,
    /// Retain the Will.
    #[arg(long, requires = "will_topic")]
    will_retain: bool,

    /// Trust the authorities in this PEM file, and use TLS.
    #[arg(long, value_name = "FILE")]
    cafile: Option<PathBuf>,
    /// Trust what the system trusts, and use TLS. Implied by port 8883 and by mqtts://.
    #[arg(long)]
    tls_use_os_certs: bool,
    /// Our certificate chain, PEM.
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// Our private key, PEM.
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// Accept a certificate that was issued for another host name.
    #[arg(long)]
    insecure: bool,
    /// TLS version; the best of both by default.
    #[arg(long, value_name = "VERSION")]
    tls_version: Option<TlsVersion>,
    /// Application protocol to ask for in the TLS handshake.
    #[arg(long, value_name = "PROTOCOL")]
    tls_alpn: Option<String>,

    /// A property: PACKET NAME VALUE, or PACKET user-property NAME VALUE. Implies -V 5.
    #[arg(short = 'D', long = "property", value_names = ["PACKET", "NAME", "VALUE"], num_args = 3..=4,
          action = ArgAction::Append, allow_negative_numbers = true)]
    properties: Vec<String>,
    /// Print every packet on standard error.
    #[arg(short = 'd', long)]
    debug: bool,
    /// Print no errors but those of usage.
    #[arg(long)]
    quiet: bool,
    /// Print help.
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Version {
    #[value(name = "31", alias = "mqttv31")]
    V31,
    #[value(name = "311", alias = "mqttv311")]
    V311,
    #[value(name = "5", alias = "mqttv5")]
    V5,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum TlsVersion {
    #[value(name = "tlsv1.2")]
    Tls12,
    #[value(name = "tlsv1.3")]
    Tls13,
}

/// What the flags come to.
#[derive(Debug)]
pub(crate) struct Setup {
    /// For the client.
    pub(crate) options: Options,
    /// What `-D` asked for.
    pub(crate) properties: Properties,
    /// The topic in the URL.
    pub(crate) url_topic: Option<String>,
    /// Whether errors are kept quiet.
    pub(crate) quiet: bool,
}

impl ConnectArgs {
    /// Checks the flags against each other, and reads the files that they name.
    ///
    /// # Errors
    /// Fails for flags that don't go together or have wrong values, and for files that can't be read.
    pub(crate) fn setup(mut self) -> Result<Setup, Failure> {
        let url = self.url.take().map(|url| Url::parse(&url)).transpose()?;
        let url_topic = url.and_then(|url| self.apply(url));
        let properties = Properties::parse(&self.properties)?;
        let version = self.version()?;
        let tls = self.tls()?;
        let options = Options {
            connect: self.connect(version, &properties)?,
            endpoint: self.endpoint(tls)?,
            scram: self.scram,
            in_flight_max: 20,
            connect_timeout: None,
            trace: self.debug.then_some(terminal::debug as fn(&str)),
        };
        Ok(Setup { options, properties, url_topic, quiet: self.quiet })
    }

    /// Whether a client id, or how it begins, was given.
    pub(crate) const fn has_id(&self) -> bool {
        self.id.is_some() || self.id_prefix.is_some()
    }

    /// Takes over what the URL says; returns its topic.
    fn apply(&mut self, url: Url) -> Option<String> {
        self.host = url.host;
        self.port = url.port;
        self.username = url.username.or(self.username.take());
        self.password = url.password.or(self.password.take());
        self.tls_use_os_certs |= url.tls && self.cafile.is_none();
        url.topic
    }

    fn version(&self) -> Result<ProtocolVersion, Failure> {
        let v5_only = !self.properties.is_empty() || self.scram;
        match self.protocol_version {
            Some(Version::V31) if !v5_only => Ok(ProtocolVersion::V3_1),
            Some(Version::V311) | None if !v5_only => Ok(ProtocolVersion::V3_1_1),
            Some(Version::V5) | None => Ok(ProtocolVersion::V5),
            Some(Version::V31 | Version::V311) => Err(Failure::usage("-D and --scram need -V 5")),
        }
    }

    fn endpoint(&self, tls: Option<Tls>) -> Result<Endpoint, Failure> {
        if !self.ws_path.starts_with('/') {
            return Err(Failure::usage("--ws-path has to begin with /"));
        }
        let port = self.port.unwrap_or(if tls.is_some() { 8883 } else { 1883 });
        let address = match &self.unix {
            Some(path) => Address::Unix(path.clone()),
            None => Address::Tcp { host: self.host.clone(), port, bind: self.bind },
        };
        let websocket_path = self.ws.then(|| self.ws_path.clone());
        Ok(Endpoint { address, tls, websocket_path })
    }

    fn tls(&self) -> Result<Option<Tls>, Failure> {
        let default = self.port == Some(8883) && self.cafile.is_none();
        let system = self.tls_use_os_certs || default;
        if !system && self.cafile.is_none() {
            return if self.cert.is_some() || self.insecure {
                Err(Failure::usage("--cert and --insecure need --cafile or --tls-use-os-certs"))
            } else {
                Ok(None)
            };
        }
        let mut authorities = if system { system_certificates()? } else { Vec::new() };
        if let Some(path) = &self.cafile {
            authorities.extend(file::read(path, PEM_BYTES_MAX)?);
        }
        let options = TlsOptions {
            authorities,
            identity: self.identity()?,
            any_host_name: self.insecure,
            version: self.tls_version.map(TlsVersion::supported),
            alpn: self.tls_alpn.clone(),
        };
        Tls::new(options).map(Some).map_err(|error| Failure::failed(format!("TLS: {error}")))
    }

    fn identity(&self) -> Result<Option<TlsIdentity>, Failure> {
        let (Some(certificate), Some(key)) = (&self.cert, &self.key) else { return Ok(None) };
        let chain = file::read(certificate, PEM_BYTES_MAX)?;
        Ok(Some(TlsIdentity { chain, key: file::read(key, PEM_BYTES_MAX)? }))
    }

    fn connect(
        &self,
        version: ProtocolVersion,
        properties: &Properties,
    ) -> Result<Connect, Failure> {
        let mut connect = Connect::new(version, self.client_id(version)?);
        connect.clean_start = !self.disable_clean_session;
        connect.keep_alive = self.keepalive;
        connect.user_name = self.username.as_deref().map(|name| text("-u", name)).transpose()?;
        connect.password = self.password.clone().map(Bytes::from);
        connect.will = self.will(properties)?;
        if version.is_v5() {
            connect.session_expiry_interval = self.expiry(properties)?;
            properties.connect.apply(&mut connect);
        } else if connect.password.is_some() && connect.user_name.is_none() {
            return Err(Failure::usage("-P needs -u, unless with -V 5"));
        }
        if connect.client_id.is_empty() && self.outlives_all(connect.session_expiry_interval) {
            return Err(Failure::usage("a session that is kept needs a client id: -i"));
        }
        Ok(connect)
    }

    /// Whether the session would be kept for ever.
    fn outlives_all(&self, expiry: Option<u32>) -> bool {
        self.disable_clean_session || expiry == Some(u32::MAX)
    }

    fn expiry(&self, properties: &Properties) -> Result<Option<u32>, Failure> {
        let kept = self.disable_clean_session.then_some(u32::MAX);
        match (self.session_expiry_interval, properties.connect.session_expiry_interval) {
            (Some(_), Some(_)) => {
                Err(Failure::usage("-x and -D CONNECT session-expiry-interval are the same"))
            }
            (flag, property) => Ok(flag.or(property).or(kept)),
        }
    }

    /// The client id; before MQTT 5 it has to be there, and in MQTT 3.1 it has at most 23 characters.
    fn client_id(&self, version: ProtocolVersion) -> Result<Text, Failure> {
        match (&self.id, &self.id_prefix) {
            (Some(id), _) => text("-i", id),
            (None, Some(prefix)) => text("-I", &format!("{prefix}{}", std::process::id())),
            (None, None) if version.is_v5() || self.disable_clean_session => Ok(Text::EMPTY),
            (None, None) => random_id(),
        }
    }

    fn will(&self, properties: &Properties) -> Result<Option<Will>, Failure> {
        let Some(topic) = &self.will_topic else { return Ok(None) };
        let topic = TopicName::try_from(topic.as_str());
        let payload = self.will_payload.clone().unwrap_or_default();
        if payload.len() > usize::from(u16::MAX) {
            return Err(Failure::usage("--will-payload is longer than 65535 bytes"));
        }
        Ok(Some(Will {
            topic: topic.map_err(|error| Failure::usage(format!("--will-topic: {error}")))?,
            payload: payload.into(),
            qos: self.will_qos.unwrap_or_default(),
            retain: self.will_retain,
            delay_interval: properties.will_delay_interval.unwrap_or(0),
            properties: properties.will.clone(),
        }))
    }
}

impl TlsVersion {
    const fn supported(self) -> &'static SupportedProtocolVersion {
        match self {
            Self::Tls12 => &rustls::version::TLS12,
            Self::Tls13 => &rustls::version::TLS13,
        }
    }
}

/// The parts of `mqtt(s)://[user[:password]@]host[:port]/topic`.
#[derive(Debug, PartialEq, Eq)]
struct Url {
    tls: bool,
    username: Option<String>,
    password: Option<String>,
    host: String,
    port: Option<u16>,
    topic: Option<String>,
}

impl Url {
    fn parse(url: &str) -> Result<Self, Failure> {
        let wrong = || {
            Failure::usage(format!(
                "-L '{url}': the form is mqtt(s)://[user[:password]@]host[:port]/topic"
            ))
        };
        let (tls, rest) = match url.split_once("://") {
            Some(("mqtt", rest)) => (false, rest),
            Some(("mqtts", rest)) => (true, rest),
            _ => return Err(wrong()),
        };
        let (authority, topic) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, address) = match authority.rsplit_once('@') {
            Some((user, address)) => (Some(user), address),
            None => (None, authority),
        };
        let (username, password) = match user.map(|user| user.split_once(':').unwrap_or((user, "")))
        {
            Some((username, "")) => (Some(username), None),
            Some((username, password)) => (Some(username), Some(password)),
            None => (None, None),
        };
        let (host, port) = match address.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                (host, Some(port.parse().map_err(|_| wrong())?))
            }
            Some(_) | None => (address, None),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(wrong());
        }
        Ok(Self {
            tls,
            username: username.map(ToOwned::to_owned),
            password: password.map(ToOwned::to_owned),
            host: host.to_owned(),
            port,
            topic: (!topic.is_empty()).then(|| topic.to_owned()),
        })
    }
}

/// Parses a `QoS`.
pub(crate) fn parse_qos(text: &str) -> Result<QoS, String> {
    let number: u8 = text.parse().map_err(|_| "0, 1 or 2 is meant".to_owned())?;
    QoS::try_from(number).map_err(|_| "0, 1 or 2 is meant".to_owned())
}

/// What becomes of a connection that is refused or lost: the reason code is the exit code, as in `mosquitto_pub`.
pub(crate) fn client_failure(error: &ClientError, version: ProtocolVersion) -> Failure {
    let exit_code = match error.reason_code() {
        Some(code) if version.is_v5() => code.as_u8().max(1),
        Some(code) => code.connack_return_code().unwrap_or(1),
        None => 1,
    };
    Failure { message: error.to_string(), exit_code }
}

/// Parses seconds; -1 and ∞ stand for ever.
fn parse_expiry(text: &str) -> Result<u32, String> {
    match text {
        "-1" | "∞" => Ok(u32::MAX),
        _ => text.parse().map_err(|_| "0 to 4294967295, -1 or ∞ is meant".to_owned()),
    }
}

/// Parses a whole number within bounds.
pub(crate) fn number<T>(
    bounds: RangeInclusive<T>,
) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static
where
    T: Clone + Display + FromStr + PartialOrd + Send + Sync + 'static,
{
    move |text| {
        let number = text.parse().ok().filter(|number| bounds.contains(number));
        number.ok_or_else(|| {
            format!("a whole number from {} to {} is meant", bounds.start(), bounds.end())
        })
    }
}

/// Parses seconds, which may have a fraction.
pub(crate) fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "a number of seconds is meant".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

fn text(flag: &str, value: &str) -> Result<Text, Failure> {
    Text::try_from(value).map_err(|error| Failure::usage(format!("{flag}: {error}")))
}

fn random_id() -> Result<Text, Failure> {
    const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let mut bytes = [0; 15];
    getrandom::fill(&mut bytes)
        .map_err(|_| Failure::failed("the system gives no random numbers"))?;
    let letter =
        |byte: &u8| LETTERS.get(usize::from(byte % 32)).map_or('a', |letter| char::from(*letter));
    text("-i", &format!("tidelog-{}", bytes.iter().map(letter).collect::<String>()))
}

fn system_certificates() -> Result<Vec<u8>, Failure> {
    let found = SYSTEM_CERTIFICATES.iter().map(Path::new).find(|path| path.exists());
    let path = found.ok_or_else(|| Failure::failed("no certificates of the system are found"))?;
    file::read(path, PEM_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let url = Url::parse("mqtts://me:se:cret@example.org:8884/a/b/#").unwrap();
        assert_eq!(
            url,
            Url {
                tls: true,
                username: Some("me".to_owned()),
                password: Some("se:cret".to_owned()),
                host: "example.org".to_owned(),
                port: Some(8884),
                topic: Some("a/b/#".to_owned()),
            }
        );
        let url = Url::parse("mqtt://[::1]").unwrap();
        assert_eq!((url.host.as_str(), url.port, url.topic), ("::1", None, None));
        let url = Url::parse("mqtt://[::1]:1/x").unwrap();
        assert_eq!((url.host.as_str(), url.port), ("::1", Some(1)));
        for wrong in ["http://a", "mqtt://", "mqtt://:1883/x", "mqtt://a:x/y", "a/b"] {
            assert_eq!(Url::parse(wrong).unwrap_err().exit_code, 2, "{wrong}");
        }
    }

    #[test]
    fn seconds_may_stand_for_ever() {
        assert_eq!(parse_expiry("-1"), Ok(u32::MAX));
        assert_eq!(parse_expiry("∞"), Ok(u32::MAX));
        assert_eq!(parse_expiry("60"), Ok(60));
        assert!(parse_expiry("-2").is_err());
    }

    #[test]
    fn random_ids_fit_into_mqtt_3_1() {
        assert_eq!(random_id().unwrap().len(), 23);
    }
}
