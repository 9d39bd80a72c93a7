//! Whether a request means this server.
//!
//! A page of somebody else's can have its own name point to this machine and then ask us as if we were
//! that page's server (DNS rebinding). The browser names whom it means in `Host`; what is not our name is
//! refused. Ports are not looked at: behind a tunnel they differ, and they make no name ours.

use std::net::IpAddr;

use axum::http::uri::Authority;
use axum::http::{HeaderMap, Uri, header};

/// Why a request is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It names nobody, or several.
    Nobody,
    /// It means somebody else.
    Other,
}

/// Whether all that a request says about whom it means is us: reached at `local`, or called one of `names`.
pub(crate) fn is_ours(
    uri: &Uri,
    headers: &HeaderMap,
    local: IpAddr,
    names: &[String],
) -> Result<(), Refused> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return Err(Refused::Nobody) };
    let host = host.to_str().ok().filter(|it| !it.contains('@'));
    let host: Authority = host.and_then(|it| it.parse().ok()).ok_or(Refused::Nobody)?;
    // A request line may hold a whole address, which then counts more than the header.
    let meant = [Some(&host), uri.authority()];
    match meant.into_iter().flatten().all(|it| is_own_name(it.host(), local, names)) {
        true => Ok(()),
        false => Err(Refused::Other),
    }
}

fn is_own_name(name: &str, local: IpAddr, names: &[String]) -> bool {
    let local = local.to_canonical();
    let number = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    if let Ok(address) = number {
        let address = address.to_canonical();
        return address == local
            || address.is_loopback() && local.is_loopback()
            || names.iter().any(|it| it.parse() == Ok(address));
    }
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let here = name == "localhost" || name.ends_with(".localhost");
    here && local.is_loopback() || names.iter().any(|it| it.eq_ignore_ascii_case(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(target: &str, hosts: &[&str], local: &str) -> Result<(), Refused> {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(header::HOST, host.parse().unwrap());
        }
        let names = ["study.example".to_owned(), "203.0.113.9".to_owned()];
        is_ours(&target.parse().unwrap(), &headers, local.parse().unwrap(), &names)
    }

    #[test]
    fn our_addresses_and_names_are_ours_on_any_port() {
        for host in
            ["127.0.0.1:80", "localhost:1", "LocalHost.", "a.localhost", "[::1]:9", "127.9.9.9"]
        {
            assert_eq!(asked("/", &[host], "127.0.0.1"), Ok(()), "{host}");
            assert_eq!(asked("/", &[host], "10.0.0.7"), Err(Refused::Other), "{host}");
        }
        for host in
            ["10.0.0.7", "10.0.0.7:8443", "Study.Example", "study.example.:1", "203.0.113.9"]
        {
            assert_eq!(asked("/", &[host], "10.0.0.7"), Ok(()), "{host}");
            // A socket for both kinds of addresses tells the old ones in the new form.
            assert_eq!(asked("/", &[host], "::ffff:10.0.0.7"), Ok(()), "{host}");
        }
        assert_eq!(asked("http://10.0.0.7/x", &["10.0.0.7"], "10.0.0.7"), Ok(()));
    }

    #[test]
    fn whoever_else_is_meant_is_refused() {
        for host in [
            "evil.example",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "10.0.0.8",
            "0.0.0.0",
        ] {
            assert_eq!(asked("/", &[host], "127.0.0.1"), Err(Refused::Other), "{host}");
        }
        assert_eq!(asked("http://evil.example/", &["localhost"], "127.0.0.1"), Err(Refused::Other));
        for hosts in [&[][..], &["localhost", "localhost"], &["evil@localhost"], &["a b"], &[""]] {
            assert_eq!(asked("/", hosts, "127.0.0.1"), Err(Refused::Nobody), "{hosts:?}");
        }
    }
}
