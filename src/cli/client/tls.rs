//! TLS for the client: whom it trusts, and the certificate it shows.

use std::io;
use std::sync::Arc;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::ServerName;
use rustls_pki_types::UnixTime;
use rustls_pki_types::pem::PemObject;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls;
use tokio_rustls::rustls::CertificateError;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::DigitallySignedStruct;
use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::SignatureScheme;
use tokio_rustls::rustls::SupportedProtocolVersion;
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::HandshakeSignatureValid;
use tokio_rustls::rustls::client::danger::ServerCertVerified;
use tokio_rustls::rustls::client::danger::ServerCertVerifier;
use tokio_rustls::rustls::crypto::CryptoProvider;

use super::ClientError;
use super::transport::Stream;

/// What is needed to build a [`Tls`]; certificates and keys are PEM.
#[derive(Debug, Default)]
pub(crate) struct TlsOptions {
    /// Certificates of the authorities that are trusted.
    pub(crate) authorities: Vec<u8>,
    /// What we show of ourselves.
    pub(crate) identity: Option<TlsIdentity>,
    /// Accept a certificate that is valid for another host name.
    pub(crate) any_host_name: bool,
    /// Only this version.
    pub(crate) version: Option<&'static SupportedProtocolVersion>,
    /// The application protocol to ask for.
    pub(crate) alpn: Option<String>,
}

/// Our own certificate, PEM.
#[derive(Debug)]
pub(crate) struct TlsIdentity {
    /// The chain, our own certificate first.
    pub(crate) chain: Vec<u8>,
    /// Its private key.
    pub(crate) key: Vec<u8>,
}

/// Why TLS could not be set up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    /// Not a PEM certificate.
    #[error("a certificate can't be read: {0}")]
    Certificate(#[source] rustls_pki_types::pem::Error),
    /// No trusted certificate.
    #[error("there is no certificate to trust")]
    NoAuthority,
    /// Not a PEM key.
    #[error("the private key can't be read: {0}")]
    Key(#[source] rustls_pki_types::pem::Error),
    /// Certificates or key that don't do.
    #[error("{0}")]
    Rustls(#[from] rustls::Error),
    /// Trusted certificates that don't do.
    #[error("{0}")]
    Verifier(#[from] rustls::client::VerifierBuilderError),
}

/// A client configuration, shared by all connections.
#[derive(Clone, Debug)]
pub(crate) struct Tls {
    config: Arc<ClientConfig>,
}

impl Tls {
    /// Builds a configuration.
    ///
    /// # Errors
    /// Fails if a certificate or key can't be read, or if there is none to trust.
    pub(crate) fn new(options: TlsOptions) -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let versions = match options.version {
            Some(version) => vec![version],
            None => rustls::ALL_VERSIONS.to_vec(),
        };
        let verifier = verifier(&options, &provider)?;
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&versions)?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match &options.identity {
            Some(identity) => {
                let key = PrivateKeyDer::from_pem_slice(&identity.key).map_err(TlsError::Key)?;
                builder.with_client_auth_cert(chain(&identity.chain)?, key)?
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = options.alpn.map(String::into_bytes).into_iter().collect();
        Ok(Self { config: Arc::new(config) })
    }

    /// Encrypts `stream`, which leads to `host`.
    ///
    /// # Errors
    /// Fails if the handshake does.
    pub(super) async fn connect(
        &self,
        host: &str,
        stream: Box<dyn Stream>,
    ) -> Result<TlsStream<Box<dyn Stream>>, ClientError> {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| {
            ClientError::Tls(io::Error::new(io::ErrorKind::InvalidInput, "not a host name"))
        })?;
        let connector = TlsConnector::from(Arc::clone(&self.config));
        connector.connect(name, stream).await.map_err(ClientError::Tls)
    }
}

fn chain(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(TlsError::Certificate)
}

fn verifier(
    options: &TlsOptions,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(chain(&options.authorities)?);
    if roots.is_empty() {
        return Err(TlsError::NoAuthority);
    }
    let verifier =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
            .build()?;
    if options.any_host_name {
        return Ok(Arc::new(AnyHostName(verifier)));
    }
    Ok(verifier)
}

/// Checks everything about a certificate but the name it was issued for.
#[derive(Debug)]
struct AnyHostName(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for AnyHostName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        // The name is what the inner verifier looks at last, so that this error means: all else is right.
        match self.0.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
        {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
