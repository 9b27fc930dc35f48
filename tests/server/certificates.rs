//! Certificates made for one test.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::BasicConstraints;
use rcgen::Certificate;
use rcgen::CertificateParams;
use rcgen::DnType;
use rcgen::IsCa;
use rcgen::Issuer;
use rcgen::KeyPair;
use rcgen::SanType;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::PrivateKeyDer;
use tidelog::config::ClientCertificate;
use tidelog::config::Tls;
use tidelog::config::TlsVersion;
use tidelog::config::UserFromCertificate;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::SupportedProtocolVersion;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::version::TLS13;

/// An authority, and a folder with its certificate and those it made for the server.
pub(crate) struct Authority {
    pub(crate) dir: tempfile::TempDir,
    certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate with its key.
pub(crate) struct Identity {
    certificate: Certificate,
    key: KeyPair,
}

impl Authority {
    /// An authority that has made a certificate for the server.
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "test authority");
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let issuer = Issuer::new(params, key);
        let this = Self { dir: tempfile::tempdir().unwrap(), certificate, issuer };
        fs::write(this.path("ca.pem"), this.certificate.pem()).unwrap();
        this.replace_server();
        this
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Makes the server a new certificate. Returns what clients will see.
    pub(crate) fn replace_server(&self) -> CertificateDer<'static> {
        let Identity { certificate, key } = self.make("server", &[]);
        fs::write(self.path("server.pem"), certificate.pem()).unwrap();
        fs::write(self.path("server.key"), key.serialize_pem()).unwrap();
        certificate.der().clone()
    }

    /// A certificate with a common name, and alternative names beside `localhost`.
    pub(crate) fn make(&self, name: &str, alternatives: &[SanType]) -> Identity {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.subject_alt_names = alternatives.to_vec();
        if alternatives.is_empty() {
            params.subject_alt_names.push(SanType::DnsName("localhost".try_into().unwrap()));
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Identity { certificate, key }
    }

    /// What the listener is told.
    pub(crate) fn listener(&self, asks: ClientCertificate, from: UserFromCertificate) -> Tls {
        Tls {
            certificate: self.path("server.pem"),
            key: self.path("server.key"),
            client_ca: (asks != ClientCertificate::None).then(|| self.path("ca.pem")),
            client_certificate: asks,
            user_from_certificate: from,
            minimum: TlsVersion::V1_2,
        }
    }

    /// A client that believes this authority.
    pub(crate) fn client(&self, identity: Option<&Identity>) -> TlsConnector {
        self.client_of(&[&TLS13], identity)
    }

    /// A client that speaks these versions only.
    pub(crate) fn client_of(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        identity: Option<&Identity>,
    ) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.der().clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some(Identity { certificate, key }) => {
                let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
                builder.with_client_auth_cert(vec![certificate.der().clone()], key).unwrap()
            }
        };
        TlsConnector::from(Arc::new(config))
    }
}

/// Breaks a file.
pub(crate) fn spoil(path: &Path) {
    fs::write(path, "-----BEGIN CERTIFICATE-----\nnot really\n").unwrap();
}
