//! `tidelog certs`: an authority for development, and certificates of a server and of clients signed by it.

#![expect(clippy::disallowed_types, reason = "a certificate is valid from now on")]

use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::SystemTime;

use clap::Args;
use rcgen::BasicConstraints;
use rcgen::CertificateParams;
use rcgen::DnType;
use rcgen::ExtendedKeyUsagePurpose;
use rcgen::IsCa;
use rcgen::Issuer;
use rcgen::KeyPair;
use rcgen::KeyUsagePurpose;

use super::Failure;
use super::arguments::number;
use super::replace;
use super::replace::PUBLIC;
use super::replace::SECRET;
use super::stdout;

/// The common name of the authority.
const AUTHORITY: &str = "Tidelog development CA";

/// How long the authority is valid, unless the others are valid longer.
const AUTHORITY_DAYS: u32 = 3_650;

/// How far back validity begins, for clocks that are behind.
const BACKDATED: Duration = Duration::from_hours(24);

/// Make certificates for development: an authority, a server's, and clients'
#[derive(Args, Clone, Debug)]
pub struct CertsArgs {
    /// The directory to write to
    #[arg(long, value_name = "DIR", default_value = "certs")]
    dir: PathBuf,

    /// A name or IP address that clients reach the server by; may be repeated [default: localhost and its addresses]
    #[arg(long, value_name = "HOST")]
    host: Vec<String>,

    /// Make a certificate for a client of this name; may be repeated
    #[arg(long, value_name = "NAME")]
    client: Vec<String>,

    /// Days until the certificates expire
    #[arg(long, value_name = "DAYS", default_value_t = 365, value_parser = number(1..=36_500_u32))]
    days: u32,

    /// Make everything anew and replace what is there, the authority too
    #[arg(long)]
    force: bool,
}

/// A private key and its certificate, as PEM.
struct Pair {
    certificate: String,
    key: String,
}

/// The authority, and whether it has to be written.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    made: Option<Pair>,
}

impl CertsArgs {
    /// Makes the certificates and prints what was made and how to use it.
    pub fn run(self) -> Result<(), Failure> {
        stdout::print(&self.make()?)
    }

    /// Makes the certificates. Returns what is to be told.
    ///
    /// Nothing is replaced without `--force`: an authority and a server's certificate that are there stay, and only
    /// what is missing is made.
    pub fn make(&self) -> Result<String, Failure> {
        self.client.iter().try_for_each(|name| check_client(name))?;
        self.check_kept()?;
        let authority = self.authority()?;
        let mut made = Vec::new();
        if let Some(pair) = &authority.made {
            self.write("ca", pair, &mut made)?;
        }
        if self.force || !self.exists("server")? {
            self.write("server", &self.server(&authority.issuer)?, &mut made)?;
        }
        for name in &self.client {
            self.write(&client_file(name), &self.client(&authority.issuer, name)?, &mut made)?;
        }
        Ok(self.told(&made))
    }

    /// Refuses what could only be done by replacing a file.
    fn check_kept(&self) -> Result<(), Failure> {
        let mut asked: Vec<String> = self.client.iter().map(|name| client_file(name)).collect();
        if !self.host.is_empty() {
            asked.push("server".to_owned());
        }
        for name in asked {
            if !self.force && self.exists(&name)? {
                let path = self.path(&name, "");
                return Err(failure(format!(
                    "{} is there already; --force makes everything anew",
                    path.display()
                )));
            }
        }
        Ok(())
    }

    fn authority(&self) -> Result<Authority, Failure> {
        let (certificate, key) = (self.path("ca", ""), self.path("ca", "-key"));
        match (replace::read(&certificate)?, replace::read(&key)?) {
            (Some(certificate_pem), Some(key_pem)) if !self.force => {
                let key = KeyPair::from_pem(&key_pem).map_err(|error| failed(&key, &error))?;
                check_authority(&certificate, &certificate_pem, &key)?;
                Ok(Authority { issuer: Issuer::new(authority_params(self.days)?, key), made: None })
            }
            (Some(_), None) | (None, Some(_)) if !self.force => {
                let (certificate, key) = (certificate.display(), key.display());
                Err(failure(format!(
                    "only one of {certificate} and {key} is there; --force makes everything anew"
                )))
            }
            (_, _) => {
                let (params, key) = (authority_params(self.days)?, key_pair()?);
                let certificate = params.self_signed(&key).map_err(|error| making(&error))?;
                let made = Pair { certificate: certificate.pem(), key: key.serialize_pem() };
                Ok(Authority { issuer: Issuer::new(params, key), made: Some(made) })
            }
        }
    }

    fn server(&self, issuer: &Issuer<'_, KeyPair>) -> Result<Pair, Failure> {
        let standard = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
        let hosts = if self.host.is_empty() { standard.to_vec() } else { self.host.clone() };
        let name = hosts.first().cloned().unwrap_or_default();
        signed(issuer, &name, hosts, ExtendedKeyUsagePurpose::ServerAuth, self.days)
    }

    /// The name stands as common name, and as alternative name where one can hold it.
    fn client(&self, issuer: &Issuer<'_, KeyPair>, name: &str) -> Result<Pair, Failure> {
        let dns = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
        let alternative = if dns { vec![name.to_owned()] } else { Vec::new() };
        signed(issuer, name, alternative, ExtendedKeyUsagePurpose::ClientAuth, self.days)
    }

    fn write(&self, name: &str, pair: &Pair, made: &mut Vec<PathBuf>) -> Result<(), Failure> {
        let (certificate, key) = (self.path(name, ""), self.path(name, "-key"));
        replace::create(&key, &pair.key, SECRET, self.force)?;
        replace::create(&certificate, &pair.certificate, PUBLIC, self.force)?;
        made.extend([certificate, key]);
        Ok(())
    }

    fn exists(&self, name: &str) -> Result<bool, Failure> {
        Ok(replace::read(&self.path(name, ""))?.is_some()
            || replace::read(&self.path(name, "-key"))?.is_some())
    }

    fn path(&self, name: &str, suffix: &str) -> PathBuf {
        self.dir.join(format!("{name}{suffix}.pem"))
    }

    fn told(&self, made: &[PathBuf]) -> String {
        let mut lines: Vec<String> =
            made.iter().map(|path| format!("made {}", path.display())).collect();
        if made.is_empty() {
            lines.push(
                "nothing to make: the authority and the server's certificate are there".to_owned(),
            );
        }
        let dir = self.dir.display();
        let client = self.client.first().map_or_else(String::new, |name| {
            let file = client_file(name);
            format!(" --cert '{dir}/{file}.pem' --key '{dir}/{file}-key.pem'")
        });
        lines.extend([
            String::new(),
            "For development only: who has ca-key.pem can be any server and any client.".to_owned(),
            "The listener:".to_owned(),
            String::new(),
            "[[listener]]".to_owned(),
            "kind = \"tls\"".to_owned(),
            "address = \"127.0.0.1:8883\"".to_owned(),
            format!("certificate = \"{dir}/server.pem\""),
            format!("key = \"{dir}/server-key.pem\""),
            "# and for clients with a certificate:".to_owned(),
            format!("# client_ca = \"{dir}/ca.pem\""),
            "# client_certificate = \"required\"".to_owned(),
            "# user_from_certificate = \"cn\"".to_owned(),
            String::new(),
            "A client:".to_owned(),
            String::new(),
            format!("mosquitto_sub -h localhost -p 8883 --cafile {dir}/ca.pem{client} -t '#' -v"),
            String::new(),
        ]);
        lines.join("\n")
    }
}

fn client_file(name: &str) -> String {
    format!("client-{name}")
}

/// A client's name is part of a file's name.
fn check_client(name: &str) -> Result<(), Failure> {
    let fits = (1..=64).contains(&name.len())
        && !name.contains(|c: char| c == '/' || c == '\\' || c.is_control());
    if fits {
        Ok(())
    } else {
        Err(failure(format!("--client {name:?}: 1 to 64 bytes without slashes")))
    }
}

fn authority_params(days: u32) -> Result<CertificateParams, Failure> {
    let mut params = params(AUTHORITY, Vec::new(), days.max(AUTHORITY_DAYS))?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn signed(
    issuer: &Issuer<'_, KeyPair>,
    name: &str,
    alternative: Vec<String>,
    usage: ExtendedKeyUsagePurpose,
    days: u32,
) -> Result<Pair, Failure> {
    let mut params = params(name, alternative, days)?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    params.use_authority_key_identifier_extension = true;
    let key = key_pair()?;
    let certificate = params.signed_by(&key, issuer).map_err(|error| making(&error))?;
    Ok(Pair { certificate: certificate.pem(), key: key.serialize_pem() })
}

fn params(name: &str, alternative: Vec<String>, days: u32) -> Result<CertificateParams, Failure> {
    let mut params = CertificateParams::new(alternative).map_err(|error| making(&error))?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let now = SystemTime::now();
    params.not_before = (now - BACKDATED).into();
    params.not_after = (now + Duration::from_hours(24) * days).into();
    Ok(params)
}

fn key_pair() -> Result<KeyPair, Failure> {
    KeyPair::generate().map_err(|error| making(&error))
}

/// Whether this is the certificate of an authority that this command made, with this key: certificates that another
/// one signs would not fit it.
fn check_authority(path: &Path, pem: &str, key: &KeyPair) -> Result<(), Failure> {
    let foreign = || {
        failure(format!(
            "{} is not an authority of this command, or not of its key",
            path.display()
        ))
    };
    let (_, pem) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).map_err(|_| foreign())?;
    let certificate = pem.parse_x509().map_err(|_| foreign())?;
    let name = certificate.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
    let same_key = *certificate.public_key().subject_public_key.data == *key.public_key_raw();
    if name == Some(AUTHORITY) && same_key { Ok(()) } else { Err(foreign()) }
}

fn making(error: &rcgen::Error) -> Failure {
    failure(format!("the certificate can't be made: {error}"))
}

fn failed(path: &Path, error: &rcgen::Error) -> Failure {
    failure(format!("{}: {error}", path.display()))
}

fn failure(message: impl Into<String>) -> Failure {
    Failure { message: message.into(), exit_code: 1 }
}
