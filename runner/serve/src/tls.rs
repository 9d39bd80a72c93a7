//! Who we are to a browser that asks over TLS: a certificate that somebody was given, or one of our own,
//! whose fingerprint is told to people by other means.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A certificate with its private key.
#[derive(Clone, Debug)]
pub struct Tls {
    pub(crate) config: Arc<ServerConfig>,
    fingerprint: String,
}

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read or written.
    #[error("`{}`: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("`{}` holds no {what} in PEM", path.display())]
    Lacks {
        /// The file.
        path: PathBuf,
        /// A certificate, or a private key.
        what: &'static str,
    },
    /// Certificate and key cannot be used, or not together.
    #[error("`{}` cannot be used with its key: {source}", path.display())]
    Unusable {
        /// The file of the certificate.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls::Error,
    },
    /// None could be made.
    #[error("no certificate could be made: {0}")]
    Made(#[from] rcgen::Error),
}

impl Tls {
    /// A certificate, with those that vouch for it, and its key, both in PEM; one file may hold both.
    pub fn read(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let read = |path: &Path| {
            fs::read(path).map_err(|source| TlsError::Io { path: path.to_owned(), source })
        };
        let pem = Pem { certificate: read(certificate)?, key: read(key)? };
        pem.tls(certificate, key)
    }

    /// A pair of our own, for `names`.
    pub fn self_signed(names: &[String]) -> Result<Self, TlsError> {
        let made = Path::new("the certificate made here");
        Pem::make(names)?.tls(made, made)
    }

    /// The pair of our own that lies in a file, made where there is none: who trusted it once is not
    /// asked again.
    pub fn kept(path: &Path, names: &[String]) -> Result<Self, TlsError> {
        if !path.exists() {
            let Pem { certificate, key } = Pem::make(names)?;
            let io = |source| TlsError::Io { path: path.to_owned(), source };
            let folder = path.parent().filter(|it| !it.as_os_str().is_empty());
            // A temporary file is its owner's alone.
            let file = tempfile::NamedTempFile::new_in(folder.unwrap_or(Path::new(".")));
            let mut file = file.map_err(io)?;
            file.write_all(&[key, certificate].concat()).map_err(io)?;
            file.as_file().sync_all().map_err(io)?;
            file.persist_noclobber(path).map_err(|it| io(it.error))?;
        }
        Self::read(path, path)
    }

    /// The SHA-256 of the certificate, as browsers show it.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }
}

/// A pair as it stands in files.
struct Pem {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Pem {
    fn make(names: &[String]) -> Result<Self, TlsError> {
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "kun");
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?.pem().into_bytes();
        Ok(Self { certificate, key: key.serialize_pem().into_bytes() })
    }

    fn tls(&self, certificate: &Path, key: &Path) -> Result<Tls, TlsError> {
        let lacks = |path: &Path, what| TlsError::Lacks { path: path.to_owned(), what };
        let chain =
            CertificateDer::pem_slice_iter(&self.certificate).collect::<Result<Vec<_>, _>>();
        let chain = chain.ok().filter(|it| !it.is_empty());
        let chain = chain.ok_or_else(|| lacks(certificate, "certificate"))?;
        let private = PrivateKeyDer::from_pem_slice(&self.key);
        let private = private.map_err(|_| lacks(key, "private key"))?;
        let fingerprint = fingerprint(&chain[0]);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|it| it.with_no_client_auth().with_single_cert(chain, private));
        let mut config =
            config.map_err(|source| TlsError::Unusable { path: certificate.to_owned(), source })?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Tls { config: Arc::new(config), fingerprint })
    }
}

fn fingerprint(certificate: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, certificate);
    let bytes: Vec<String> = digest.as_ref().iter().map(|it| format!("{it:02X}")).collect();
    bytes.join(":")
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::{SocketAddr, TcpStream};
    use std::os::unix::fs::PermissionsExt;

    use rustls::pki_types::ServerName;
    use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

    use super::*;
    use crate::{Listener, Response};

    const ASKED: &[u8] = b"GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n";

    fn names() -> Vec<String> {
        vec!["localhost".to_owned()]
    }

    fn served(tls: Tls) -> SocketAddr {
        let listener = Listener::bind(([127, 0, 0, 1], 0).into()).unwrap().over(tls);
        let address = listener.address().unwrap();
        assert_eq!(listener.origin().unwrap(), format!("https://{address}"));
        std::thread::spawn(|| listener.run(|it| Response::text(200, &it.path)));
        address
    }

    fn all(mut stream: impl Read) -> String {
        let mut text = Vec::new();
        let _ = stream.read_to_end(&mut text);
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Asks as somebody who trusts one certificate, and no other.
    fn ask(address: SocketAddr, trusted: &Path) -> String {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(trusted).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").unwrap();
        let client = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut stream = StreamOwned::new(client, TcpStream::connect(address).unwrap());
        match stream.write_all(ASKED) {
            Ok(()) => all(stream),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn who_trusts_our_certificate_is_answered_and_who_speaks_without_tls_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let (own, other) = (folder.path().join("s.tls"), folder.path().join("other.tls"));
        let tls = Tls::kept(&own, &names()).unwrap();
        Tls::kept(&other, &names()).unwrap();
        let address = served(tls);
        let answer = ask(address, &own);
        assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("/x"), "{answer}");
        let answer = ask(address, &other);
        assert!(answer.contains("invalid peer certificate"), "{answer}");
        let mut plain = TcpStream::connect(address).unwrap();
        plain.write_all(ASKED).unwrap();
        let answer = all(plain);
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.ends_with("https://"), "{answer}");
    }

    #[test]
    fn a_pair_that_is_kept_stays_the_same_and_is_its_owners() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.tls");
        let first = Tls::kept(&path, &names()).unwrap();
        let second = Tls::kept(&path, &names()).unwrap();
        assert_eq!(first.fingerprint(), second.fingerprint());
        assert_eq!(first.fingerprint().split(':').count(), 32);
        assert_ne!(first.fingerprint(), Tls::self_signed(&names()).unwrap().fingerprint());
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn files_that_are_no_pair_are_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (folder.path().join("one"), folder.path().join("other"));
        Tls::kept(&one, &names()).unwrap();
        Tls::kept(&other, &names()).unwrap();
        let error = |certificate: &Path, key: &Path| {
            let error = Tls::read(certificate, key).unwrap_err().to_string();
            error.replace(&format!("{}/", folder.path().display()), "")
        };
        assert!(error(&one, &other).starts_with("`one` cannot be used with its key: "));
        let text = folder.path().join("text");
        fs::write(&text, "no PEM").unwrap();
        assert_eq!(error(&text, &one), "`text` holds no certificate in PEM");
        assert_eq!(error(&one, &text), "`text` holds no private key in PEM");
        assert!(error(&folder.path().join("none"), &one).starts_with("`none`: No such file"));
    }
}
