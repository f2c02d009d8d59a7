//! Owns how much of TLS is asked of a server, as libpq's sslmode says. Nothing of OpenSSL is needed.

use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::settings::{SYSTEM, Settings, SslMode};

/// The configuration of a connection. An error says which file is wrong.
pub(super) fn configure(settings: &Settings) -> Result<ClientConfig, String> {
    let provider = Arc::new(ring::default_provider());
    let algorithms = provider.signature_verification_algorithms;
    let verifier: Arc<dyn ServerCertVerifier> = match verification(settings)? {
        Verification::None => Arc::new(Unverified(algorithms)),
        Verification::Authority(root) => Arc::new(AnyName(webpki(roots(&root)?, &provider)?)),
        Verification::Full(root) => webpki(roots(&root)?, &provider)?,
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    match (&settings.certificate, &settings.key) {
        (Some(certificate), Some(key)) => {
            let certificates = certificates(certificate)?;
            let private = PrivateKeyDer::from_pem_file(key).map_err(|error| named(key, &error))?;
            builder.with_client_auth_cert(certificates, private).map_err(|error| named(certificate, &error))
        }
        _ => Ok(builder.with_no_client_auth()),
    }
}

/// What is verified of a server's certificate.
enum Verification {
    None,
    /// Who signed it.
    Authority(String),
    /// That, and for which name.
    Full(String),
}

fn verification(settings: &Settings) -> Result<Verification, String> {
    let root = settings.root_certificate.clone();
    Ok(match (settings.sslmode, root) {
        (SslMode::VerifyFull, Some(root)) => Verification::Full(root),
        // With a root certificate libpq verifies for `require` what it does for `verify-ca`.
        (SslMode::VerifyCa | SslMode::Require, Some(root)) => Verification::Authority(root),
        (SslMode::VerifyCa | SslMode::VerifyFull, None) => {
            return Err("sslmode verifies the server, and there is no root certificate: ~/.postgresql/root.crt, \
                        sslrootcert=FILE or sslrootcert=system"
                .to_string());
        }
        _ => Verification::None,
    })
}

fn roots(place: &str) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    if place == SYSTEM {
        for certificate in rustls_native_certs::load_native_certs().certs {
            // What the machine has and nobody can read verifies nothing.
            let _ = roots.add(certificate);
        }
    } else {
        let path = Path::new(place);
        for certificate in certificates(path)? {
            roots.add(certificate).map_err(|error| named(path, &error))?;
        }
    }
    if roots.is_empty() { Err(format!("{place}: no root certificate there")) } else { Ok(roots) }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    read.map_err(|error| named(path, &error))
}

fn named(path: &Path, error: &dyn std::fmt::Display) -> String {
    format!("{}: {error}", path.display())
}

fn webpki(roots: RootCertStore, provider: &Arc<CryptoProvider>) -> Result<Arc<WebPkiServerVerifier>, String> {
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .build()
        .map_err(|error| error.to_string())
}

/// Takes every certificate: what is said is hidden from those who only listen.
#[derive(Debug)]
struct Unverified(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer,
        _intermediates: &[CertificateDer],
        _server_name: &ServerName,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

/// Verifies who signed a certificate, and not for which name: what webpki looks at last.
#[derive(Debug)]
struct AnyName(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer,
        intermediates: &[CertificateDer],
        server_name: &ServerName,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.0.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
