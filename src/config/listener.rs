//! `[[listener]]`: where the broker listens, and whom each listener lets in.

use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;

use super::Anonymous;
use super::Broken;
use super::values;

/// One listener, checked: what its kind needs is there, what its kind can't use is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Its name in traces and `$SYS`. No two have the same.
    pub name: String,
    /// Where it is bound.
    pub endpoint: Endpoint,
    /// The path of the URL, for MQTT in a WebSocket.
    pub websocket_path: Option<String>,
    /// TLS, if it speaks that.
    pub tls: Option<Tls>,
    /// Connections at the same time; `None` for no limit of its own.
    pub connections: Option<u32>,
    /// Whether clients without a user name are let in; what `[access]` says is in it already.
    pub anonymous: Anonymous,
}

/// Where a listener is bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// An address and a port; port 0 takes a free one.
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

/// How a listener speaks TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The certificate chain, a PEM file.
    pub certificate: PathBuf,
    /// The private key, a PEM file.
    pub key: PathBuf,
    /// The authorities of client certificates, a PEM file; there unless clients show none.
    pub client_ca: Option<PathBuf>,
    /// Whether clients show a certificate.
    pub client_certificate: ClientCertificate,
    /// Whether its name is the user name.
    pub user_from_certificate: UserFromCertificate,
    /// The oldest version.
    pub minimum: TlsVersion,
}

/// Whether clients show a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientCertificate {
    /// They are not asked.
    None,
    /// They are asked, and let in without.
    Optional,
    /// No connection without one.
    Required,
}

/// Which name of a client certificate is the user name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UserFromCertificate {
    /// None of them.
    None,
    /// The common name of the subject.
    Cn,
    /// The first DNS name or e-mail address among the subject's alternative names.
    San,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub enum TlsVersion {
    /// TLS 1.2.
    #[serde(rename = "1.2")]
    V1_2,
    /// TLS 1.3.
    #[serde(rename = "1.3")]
    V1_3,
}

impl Default for Listener {
    /// TCP on 127.0.0.1:1883, open to everybody on this machine.
    fn default() -> Self {
        Self {
            name: "tcp".to_owned(),
            endpoint: Endpoint::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 1883))),
            websocket_path: None,
            tls: None,
            connections: None,
            anonymous: Anonymous::Loopback,
        }
    }
}

impl Listener {
    /// Whether only this machine can reach it.
    pub fn is_loopback(&self) -> bool {
        match &self.endpoint {
            Endpoint::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Endpoint::Unix(_) => true,
        }
    }

    /// Whether a client without a user name is let in here.
    pub fn lets_anonymous_in(&self) -> bool {
        match self.anonymous {
            Anonymous::Loopback => self.is_loopback(),
            Anonymous::Always => true,
            Anonymous::Never => false,
        }
    }
}

/// What a listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Tcp,
    Tls,
    Websocket,
    Wss,
    Unix,
}

impl Kind {
    const fn has_tls(self) -> bool {
        matches!(self, Self::Tls | Self::Wss)
    }

    const fn has_websocket(self) -> bool {
        matches!(self, Self::Websocket | Self::Wss)
    }
}

/// What a listener says about clients without a user name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ListenerAnonymous {
    Inherit,
    Loopback,
    Always,
    Never,
}

/// The keys of one `[[listener]]` block.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListenerKeys {
    name: String,
    kind: Kind,
    address: String,
    path: String,
    #[serde(deserialize_with = "values::path")]
    certificate: Option<PathBuf>,
    #[serde(deserialize_with = "values::path")]
    key: Option<PathBuf>,
    #[serde(deserialize_with = "values::path")]
    client_ca: Option<PathBuf>,
    client_certificate: ClientCertificate,
    user_from_certificate: UserFromCertificate,
    tls_min: TlsVersion,
    #[serde(deserialize_with = "values::count_limit")]
    connections: Option<u32>,
    anonymous: ListenerAnonymous,
}

/// The listeners, if each is whole and no two are in each other's way.
pub(super) fn check(
    keys: Vec<ListenerKeys>,
    anonymous: Anonymous,
) -> Result<Vec<Listener>, Broken> {
    let mut listeners: Vec<Listener> = Vec::new();
    for (index, keys) in keys.into_iter().enumerate() {
        let broken =
            |(key, why): (&str, &'static str)| Broken::new(format!("listener.{index}.{key}"), why);
        let listener = listener(keys, anonymous).map_err(broken)?;
        check_beside(&listeners, &listener).map_err(broken)?;
        listeners.push(listener);
    }
    if listeners.is_empty() {
        Err(Broken::new("listener", "at least one listener is needed"))
    } else {
        Ok(listeners)
    }
}

/// A key of the listener, and what is wrong with it.
type Wrong = (&'static str, &'static str);

fn check_beside(others: &[Listener], listener: &Listener) -> Result<(), Wrong> {
    if others.iter().any(|other| other.name == listener.name) {
        return Err(("name", "another listener has this name"));
    }
    let any_port = matches!(&listener.endpoint, Endpoint::Tcp(address) if address.port() == 0);
    if !any_port && others.iter().any(|other| other.endpoint == listener.endpoint) {
        return Err(("address", "another listener has this address"));
    }
    Ok(())
}

fn listener(keys: ListenerKeys, inherited: Anonymous) -> Result<Listener, Wrong> {
    let name = if keys.name.is_empty() { keys.address.clone() } else { keys.name.clone() };
    if keys.connections == Some(0) {
        return Err(("connections", "at least 1, or \"unlimited\""));
    }
    Ok(Listener {
        name,
        endpoint: endpoint(keys.kind, &keys.address)?,
        websocket_path: websocket_path(keys.kind, &keys.path)?,
        connections: keys.connections,
        anonymous: match keys.anonymous {
            ListenerAnonymous::Inherit => inherited,
            ListenerAnonymous::Loopback => Anonymous::Loopback,
            ListenerAnonymous::Always => Anonymous::Always,
            ListenerAnonymous::Never => Anonymous::Never,
        },
        tls: tls(keys)?,
    })
}

fn endpoint(kind: Kind, address: &str) -> Result<Endpoint, Wrong> {
    if address.is_empty() {
        return Err(("address", "an address is needed"));
    }
    if kind == Kind::Unix {
        return Ok(Endpoint::Unix(PathBuf::from(address)));
    }
    let numeric = address.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
    let parsed = numeric.as_deref().unwrap_or(address).parse();
    parsed
        .map(Endpoint::Tcp)
        .map_err(|_| ("address", "an IP address and a port, as in \"0.0.0.0:1883\""))
}

fn websocket_path(kind: Kind, path: &str) -> Result<Option<String>, Wrong> {
    let plain = path.starts_with('/') && !path.contains(['?', '#', ' ']);
    match (kind.has_websocket(), plain) {
        (false, _) => Ok(None),
        (true, true) => Ok(Some(path.to_owned())),
        (true, false) => Err(("path", "the path of a URL, as in \"/mqtt\"")),
    }
}

fn tls(keys: ListenerKeys) -> Result<Option<Tls>, Wrong> {
    if !keys.kind.has_tls() {
        return no_tls(&keys).map(|()| None);
    }
    let certificate =
        keys.certificate.ok_or(("certificate", "a listener with TLS needs a certificate"))?;
    let key = keys.key.ok_or(("key", "a listener with TLS needs the certificate's key"))?;
    let asks = keys.client_certificate != ClientCertificate::None;
    if asks && keys.client_ca.is_none() {
        return Err(("client_ca", "client certificates can't be checked without their authority"));
    }
    if !asks && keys.user_from_certificate != UserFromCertificate::None {
        return Err((
            "user_from_certificate",
            "clients are not asked for a certificate (client_certificate)",
        ));
    }
    Ok(Some(Tls {
        certificate,
        key,
        client_ca: keys.client_ca,
        client_certificate: keys.client_certificate,
        user_from_certificate: keys.user_from_certificate,
        minimum: keys.tls_min,
    }))
}

/// A key that would do nothing is more likely a wrong `kind`.
fn no_tls(keys: &ListenerKeys) -> Result<(), Wrong> {
    let why = "only listeners of kind \"tls\" and \"wss\" have it";
    let unused = [
        ("certificate", keys.certificate.is_some()),
        ("key", keys.key.is_some()),
        ("client_ca", keys.client_ca.is_some()),
        ("client_certificate", keys.client_certificate != ClientCertificate::None),
        ("user_from_certificate", keys.user_from_certificate != UserFromCertificate::None),
    ];
    unused.into_iter().find(|(_, given)| *given).map_or(Ok(()), |(key, _)| Err((key, why)))
}
