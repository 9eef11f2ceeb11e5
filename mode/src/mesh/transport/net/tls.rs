//! Who may talk to whom: each side has a certificate, self-signed or not, and takes exactly one from the other. That is all: names, dates
//! and issuers in it are not looked at, for whoever gave it to this process vouches for them.

use crate::{Error, files};
use std::path::Path;
use std::sync::Arc;
use tokio_rustls::rustls;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme,
};

/// HTTP/2, which gRPC is on.
const PROTOCOL: &[u8] = b"h2";

/// This process's certificate and the key to it.
pub(crate) struct Identity {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

impl Identity {
    /// Reads both from PEM files.
    ///
    /// # Errors
    /// A file that can't be read, or holds something else, or a key to another certificate.
    pub(crate) fn read(certificate: &Path, key: &Path) -> Result<Self, Error> {
        let text = files::read_text(key)?;
        let broken = |_| Error::content(key, "holds no private key in PEM");
        let this = Self {
            certificate: read_certificate(certificate)?,
            key: PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(broken)?,
        };
        // It would be found out later, but here the files are known.
        match this.client(&this.certificate) {
            Ok(_) => Ok(this),
            Err(error) => Err(Error::content(key, format!("is no key to {}: {error}", certificate.display()))),
        }
    }

    /// How to wait for a process with this certificate.
    pub(super) fn server(&self, peer: &CertificateDer<'static>) -> Result<Arc<ServerConfig>, rustls::Error> {
        let pinned = Pinned::new(peer);
        let config = ServerConfig::builder_with_provider(pinned.provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(Arc::new(pinned));
        let mut config = config.with_single_cert(vec![self.certificate.clone()], self.key.clone_key())?;
        config.alpn_protocols = vec![PROTOCOL.into()];
        Ok(Arc::new(config))
    }

    /// How to call a process with this certificate.
    pub(super) fn client(&self, peer: &CertificateDer<'static>) -> Result<Arc<ClientConfig>, rustls::Error> {
        let pinned = Pinned::new(peer);
        let config = ClientConfig::builder_with_provider(pinned.provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(pinned));
        let mut config = config.with_client_auth_cert(vec![self.certificate.clone()], self.key.clone_key())?;
        config.alpn_protocols = vec![PROTOCOL.into()];
        Ok(Arc::new(config))
    }
}

/// Reads the one certificate of a PEM file.
///
/// # Errors
/// A file that can't be read, or holds none or several.
pub(crate) fn read_certificate(path: &Path) -> Result<CertificateDer<'static>, Error> {
    let text = files::read_text(path)?;
    let all = CertificateDer::pem_slice_iter(text.as_bytes()).collect::<Result<Vec<_>, _>>();
    match all.unwrap_or_default().as_slice() {
        [one] => Ok(one.clone()),
        [] => Err(Error::content(path, "holds no certificate in PEM")),
        all => Err(Error::content(path, format!("holds {} certificates where one is taken", all.len()))),
    }
}

/// The one certificate that the other side may show.
#[derive(Debug)]
struct Pinned {
    certificate: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl Pinned {
    fn new(certificate: &CertificateDer<'static>) -> Self {
        Self { certificate: certificate.clone(), provider: Arc::new(rustls::crypto::ring::default_provider()) }
    }

    fn check(&self, shown: &CertificateDer<'_>) -> Result<(), rustls::Error> {
        match *shown == self.certificate {
            true => Ok(()),
            false => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }
}

/// What both sides have to answer alike: that the other has the key to what it shows.
macro_rules! signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.provider.signature_verification_algorithms.supported_schemes()
        }
    };
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.check(shown).map(|()| ServerCertVerified::assertion())
    }

    signatures!();
}

impl ClientCertVerifier for Pinned {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        shown: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.check(shown).map(|()| ClientCertVerified::assertion())
    }

    signatures!();
}
