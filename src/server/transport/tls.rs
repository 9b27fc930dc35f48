//! TLS: certificates that can be replaced while the broker runs, and the names in those of clients.
//!
//! The files are read at the start, on demand and when somebody asks whether they changed. What does not load leaves
//! what was in force: a half-replaced pair of certificate and key, or a broken file, cuts nobody off.

#![expect(clippy::disallowed_methods, reason = "certificates and keys are read here")]
#![expect(
    clippy::disallowed_types,
    reason = "the digest of the files is shared with a thread that reads them"
)]

use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use arc_swap::ArcSwap;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem;
use rustls_pki_types::pem::PemObject;
use sha2::Digest;
use sha2::Sha256;
use thiserror::Error;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls;
use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::SupportedProtocolVersion;
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::server::VerifierBuilderError;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::version::TLS12;
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::server::TlsStream;
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;
use x509_parser::prelude::X509Certificate;

use super::Transport;
use crate::config::ClientCertificate;
use crate::config::Tls as Options;
use crate::config::TlsVersion;
use crate::config::UserFromCertificate;

/// All versions, the newest first.
static VERSIONS: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];

/// Why a listener's certificates can't be used.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file can't be read.
    #[error("{path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is no PEM, or holds not what it should.
    #[error("{path}: {source}")]
    Pem {
        /// The file.
        path: PathBuf,
        /// Why.
        source: pem::Error,
    },
    /// A file holds no certificate.
    #[error("{0}: no certificate in it")]
    NoCertificate(PathBuf),
    /// Certificate and key do not belong together, or are of a kind that is not supported.
    #[error("certificate and key: {path}: {source}")]
    Certificate {
        /// The certificate's file.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// The authorities of client certificates can't be used.
    #[error("client_ca: {path}: {source}")]
    ClientCa {
        /// Their file.
        path: PathBuf,
        /// Why.
        source: VerifierBuilderError,
    },
}

/// The TLS of one listener.
#[derive(Debug)]
pub(crate) struct Tls {
    options: Options,
    current: ArcSwap<ServerConfig>,
    /// Of the files that were read last, whether they could be used or not.
    digest: Mutex<[u8; 32]>,
}

/// The contents of the files.
struct Files {
    certificate: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

impl Tls {
    /// Reads the certificates.
    pub(crate) fn open(options: &Options) -> Result<Self, TlsError> {
        let files = Files::read(options)?;
        let config = files.config(options)?;
        Ok(Self {
            options: options.clone(),
            current: ArcSwap::from_pointee(config),
            digest: Mutex::new(files.digest()),
        })
    }

    /// Reads the files again and, if they changed since the last time, uses them for connections from now on.
    /// Returns whether it did. Blocks on files.
    ///
    /// # Errors
    /// What is wrong with them; what was in force stays. The same broken files are an error once only.
    pub(crate) fn reload(&self) -> Result<bool, TlsError> {
        let mut digest = self.digest.lock().unwrap_or_else(PoisonError::into_inner);
        let files = match Files::read(&self.options) {
            Ok(files) => files,
            Err(error) => {
                let known = std::mem::take(&mut *digest) == [0; 32];
                return if known { Ok(false) } else { Err(error) };
            }
        };
        let found = files.digest();
        if *digest == found {
            return Ok(false);
        }
        *digest = found;
        self.current.store(Arc::new(files.config(&self.options)?));
        Ok(true)
    }

    /// Does the handshake with the certificates in force. Returns the user's name in the client's certificate, if the
    /// listener takes it from there.
    ///
    /// # Errors
    /// The handshake failed.
    pub(crate) async fn accept(
        &self,
        transport: Transport,
    ) -> io::Result<(TlsStream<Transport>, Option<String>)> {
        let stream = TlsAcceptor::from(self.current.load_full()).accept(transport).await?;
        let (_, session) = stream.get_ref();
        let certificate = session.peer_certificates().and_then(<[_]>::first);
        let name = certificate.and_then(|der| user_name(der, self.options.user_from_certificate));
        Ok((stream, name))
    }

    /// The file of the certificate, for messages.
    pub(crate) fn certificate(&self) -> &Path {
        &self.options.certificate
    }
}

impl Files {
    fn read(options: &Options) -> Result<Self, TlsError> {
        let read = |path: &Path| {
            fs::read(path).map_err(|source| TlsError::Unreadable { path: path.to_owned(), source })
        };
        Ok(Self {
            certificate: read(&options.certificate)?,
            key: read(&options.key)?,
            client_ca: options.client_ca.as_deref().map(read).transpose()?,
        })
    }

    fn digest(&self) -> [u8; 32] {
        let mut digest = Sha256::new();
        let files = [&self.certificate, &self.key, self.client_ca.as_ref().unwrap_or(&self.key)];
        for file in files {
            digest.update((file.len() as u64).to_be_bytes());
            digest.update(file);
        }
        digest.finalize().into()
    }

    fn config(&self, options: &Options) -> Result<ServerConfig, TlsError> {
        let chain = certificates(&self.certificate, &options.certificate)?;
        let key = PrivateKeyDer::from_pem_slice(&self.key)
            .map_err(|source| TlsError::Pem { path: options.key.clone(), source })?;
        let wrong = |source| TlsError::Certificate { path: options.certificate.clone(), source };
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions(options.minimum))
            .map_err(wrong)?;
        let builder = match self.verifier(options, provider)? {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        builder.with_single_cert(chain, key).map_err(wrong)
    }

    fn verifier(
        &self,
        options: &Options,
        provider: Arc<CryptoProvider>,
    ) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsError> {
        let (Some(pem), Some(path)) = (&self.client_ca, &options.client_ca) else {
            return Ok(None);
        };
        let mut roots = RootCertStore::empty();
        for authority in certificates(pem, path)? {
            let wrong = |source| TlsError::Certificate { path: path.clone(), source };
            roots.add(authority).map_err(wrong)?;
        }
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        let builder = match options.client_certificate {
            ClientCertificate::None => return Ok(None),
            ClientCertificate::Optional => builder.allow_unauthenticated(),
            ClientCertificate::Required => builder,
        };
        let verifier = builder.build();
        verifier.map(Some).map_err(|source| TlsError::ClientCa { path: path.clone(), source })
    }
}

fn versions(minimum: TlsVersion) -> &'static [&'static SupportedProtocolVersion] {
    match minimum {
        TlsVersion::V1_2 => VERSIONS,
        TlsVersion::V1_3 => VERSIONS.get(..1).unwrap_or(VERSIONS),
    }
}

fn certificates(pem: &[u8], path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if found.is_empty() => Err(TlsError::NoCertificate(path.to_owned())),
        Ok(found) => Ok(found),
        Err(source) => Err(TlsError::Pem { path: path.to_owned(), source }),
    }
}

/// The user's name in a verified certificate: the common name, or the first DNS name or e-mail address among the
/// alternative ones.
fn user_name(der: &CertificateDer<'_>, from: UserFromCertificate) -> Option<String> {
    let (_, certificate) = parse_x509_certificate(der).ok()?;
    match from {
        UserFromCertificate::None => None,
        UserFromCertificate::Cn => {
            let mut names = certificate.subject().iter_common_name();
            names.next()?.as_str().ok().map(str::to_owned)
        }
        UserFromCertificate::San => alternative_name(&certificate),
    }
    .filter(|name| !name.is_empty())
}

fn alternative_name(certificate: &X509Certificate<'_>) -> Option<String> {
    let names = certificate.subject_alternative_name().ok()??;
    names.value.general_names.iter().find_map(|name| {
        if let GeneralName::DNSName(name) | GeneralName::RFC822Name(name) = name {
            Some((*name).to_owned())
        } else {
            None
        }
    })
}
