//! How a page that is served is reached: over TLS wherever others than this machine's people could
//! listen, unless somebody says otherwise.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use ::serve::{Listener, Tls, TlsError};

use crate::printer::{NAME, Printer};
use crate::trouble::Trouble;

/// How a page that is served is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub(crate) struct Reach {
    /// A name or address under which people reach this machine, and which links carry (may be repeated)
    #[arg(long = "public-name", value_name = "NAME")]
    public_names: Vec<String>,
    /// The certificate in PEM that the page is served with (default: one made here, where others can reach it)
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The private key of that certificate
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Serve without TLS although others can reach the page: whoever is on the way reads all, links too
    #[arg(long, conflicts_with_all = ["tls_cert", "tls_key"])]
    plain_http: bool,
}

/// A page's server that listens, and what people are told of it.
pub(crate) struct Served {
    pub(crate) listener: Listener,
    /// What its links begin with.
    pub(crate) origin: String,
    /// The certificate's SHA-256, where it speaks TLS.
    pub(crate) fingerprint: Option<String>,
}

impl Reach {
    /// Listens, and says what people must know. A certificate made here lies at `kept` where that is
    /// given, and else goes with the program.
    pub(crate) fn listen(
        &self,
        address: SocketAddr,
        kept: Option<&Path>,
        printer: &Printer,
    ) -> Result<Served, Trouble> {
        let at = |source| Trouble::Io { path: address.to_string(), source };
        for name in &self.public_names {
            check(name)?;
        }
        let tls = self.tls(address, kept)?;
        let fingerprint = tls.as_ref().map(|it| it.fingerprint().to_owned());
        let mut listener = Listener::bind(address).map_err(at)?.called(self.public_names.clone());
        if let Some(tls) = tls {
            listener = listener.over(tls);
        }
        if let (Some(it), None) = (&fingerprint, &self.tls_cert) {
            let place = kept.map_or(String::new(), |it| format!(" in `{}`", it.display()));
            printer.act(NAME, "Certificate", format_args!("made here{place}, SHA-256 {it}"));
            printer.say(
                "             a browser asks once whether to trust it: compare these numbers first",
            );
        }
        if fingerprint.is_none() && !address.ip().is_loopback() {
            printer.warn("`--plain-http`: whoever is on the way can read the links and all that is sent, and change it");
        }
        let origin = listener.origin().map_err(at)?;
        Ok(Served { listener, origin, fingerprint })
    }

    fn tls(&self, address: SocketAddr, kept: Option<&Path>) -> Result<Option<Tls>, Trouble> {
        let tls = match (&self.tls_cert, &self.tls_key) {
            (Some(certificate), Some(key)) => Tls::read(certificate, key),
            _ if self.plain_http || address.ip().is_loopback() => return Ok(None),
            _ => {
                let own = [address.ip().to_string(), "localhost".to_owned()];
                let names = [&self.public_names[..], &own].concat();
                match kept {
                    Some(path) => Tls::kept(path, &names),
                    None => Tls::self_signed(&names),
                }
            }
        };
        tls.map(Some).map_err(|error| match error {
            TlsError::Io { path, source } if source.kind() != std::io::ErrorKind::NotFound => {
                Trouble::io(&path, source)
            }
            error => Trouble::user(error.to_string()),
        })
    }
}

/// A name, not an address with a scheme, a path or a port.
fn check(name: &str) -> Result<(), Trouble> {
    let number = name.parse::<std::net::IpAddr>().is_ok();
    let fits = |it: char| it.is_ascii_alphanumeric() || "-._".contains(it);
    if number || !name.is_empty() && name.chars().all(fits) {
        return Ok(());
    }
    let what = format!("`--public-name {name}` is no name of a machine, and no address");
    Err(Trouble::helped(
        what,
        "a name as in `study.example.org`, without `https://` and without a port",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn speaks_tls(reach: &Reach, address: &str) -> bool {
        reach.tls(address.parse().unwrap(), None).unwrap().is_some()
    }

    #[test]
    fn where_others_can_reach_the_page_it_takes_a_word_to_go_without_tls() {
        let plain = Reach { plain_http: true, ..Reach::default() };
        for (address, wanted) in [
            ("127.0.0.1:0", false),
            ("[::1]:0", false),
            ("0.0.0.0:0", true),
            ("[::]:0", true),
            ("192.0.2.1:80", true),
        ] {
            assert_eq!(speaks_tls(&Reach::default(), address), wanted, "{address}");
            assert!(!speaks_tls(&plain, address), "{address}");
        }
    }

    #[test]
    fn a_public_name_is_a_name_and_no_address_of_a_page() {
        for good in ["study.example", "gpu-box", "192.0.2.1", "2001:db8::1"] {
            assert!(check(good).is_ok(), "{good}");
        }
        for bad in ["", "https://study.example", "study.example:80", "a/b", "a b", "é"] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
