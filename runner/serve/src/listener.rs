//! Listens, and has each request answered on a thread of its own.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::http::{Request, Response, answer};

const MAX_CONNECTIONS: usize = 64;

/// Where requests come in.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
    open: AtomicUsize,
}

impl Listener {
    /// Listens where it was asked to; port 0 is any that is free.
    pub fn bind(at: SocketAddr) -> io::Result<Self> {
        Ok(Self { listener: TcpListener::bind(at)?, open: AtomicUsize::new(0) })
    }

    /// Where it listens.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers for ever.
    pub fn run(&self, handle: impl Fn(&Request) -> Response + Sync) {
        let handle = &handle;
        std::thread::scope(|scope| {
            for stream in self.listener.incoming().flatten() {
                if self.open.fetch_add(1, Ordering::Relaxed) >= MAX_CONNECTIONS {
                    self.open.fetch_sub(1, Ordering::Relaxed);
                    continue;
                }
                let work = move || {
                    answer(stream, handle);
                    self.open.fetch_sub(1, Ordering::Relaxed);
                };
                if std::thread::Builder::new().spawn_scoped(scope, work).is_err() {
                    self.open.fetch_sub(1, Ordering::Relaxed);
                }
            }
        });
    }
}

/// A word that nobody guesses, to stand in a link: whoever else is on this machine can reach its ports.
pub fn token() -> io::Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|it| io::Error::other(it.to_string()))?;
    Ok(bytes.iter().map(|it| format!("{it:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream;

    use super::*;
    use crate::Policy;

    #[test]
    fn what_is_asked_is_answered_and_says_what_the_page_may_do() {
        let listener = Listener::bind(([127, 0, 0, 1], 0).into()).unwrap();
        let address = listener.address().unwrap();
        // It answers for ever: the thread ends with the process.
        std::thread::spawn(move || {
            listener.run(|it| {
                let policy = if it.path == "/drawn" { Policy::Drawn } else { Policy::Own };
                Response { policy, ..Response::text(200, &it.path) }
            });
        });
        let ask = |path: &str| {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(format!("GET {path} HTTP/1.1\r\n\r\n").as_bytes()).unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            text
        };
        let (own, drawn) = (ask("/a?b"), ask("/drawn"));
        assert!(own.starts_with("HTTP/1.1 200 OK\r\n") && own.ends_with("\r\n\r\n/a?b"), "{own}");
        assert!(own.contains("style-src 'self';") && !own.contains("unsafe"), "{own}");
        assert!(drawn.contains("style-src 'unsafe-inline';"), "{drawn}");
        assert!(ask("\0").starts_with("HTTP/1.1 400"));
    }

    #[test]
    fn tokens_differ() {
        let (one, other) = (token().unwrap(), token().unwrap());
        assert!(one.len() == 32 && one != other);
    }
}
