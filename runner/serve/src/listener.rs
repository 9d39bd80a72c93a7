//! Listens, with bounds on size, time and number: one request for each connection. Who dawdles makes
//! room for who comes.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, Method, Uri, header};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_blocking;
use tokio_rustls::TlsAcceptor;

use crate::crowd::{Crowd, Member};
use crate::host::{Refused, is_ours};
use crate::{Request, Response, Tls};

const MAX_HEAD_BYTES: usize = 16 << 10;
const MAX_HEADERS: usize = 64;
const MAX_BODY_BYTES: usize = 64 << 10;
/// A connection, from its first byte to its last.
const LONGEST: Duration = Duration::from_secs(20);
/// The head of a request, from its first byte to its last.
const LONGEST_HEAD: Duration = Duration::from_secs(10);
/// How long nothing is accepted after that failed: there may be too many open files.
const PAUSE: Duration = Duration::from_millis(50);
/// The first byte of who speaks TLS; no method of HTTP begins so.
const TLS_HANDSHAKE: u8 = 22;

/// What answers.
type Handler = Arc<dyn Fn(&Request) -> Response + Send + Sync>;

/// Where requests come in.
#[derive(Debug)]
pub struct Listener {
    listener: std::net::TcpListener,
    names: Vec<String>,
    tls: Option<Tls>,
}

impl Listener {
    /// Listens where it was asked to; port 0 is any that is free.
    pub fn bind(at: SocketAddr) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(at)?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, names: Vec::new(), tls: None })
    }

    /// Answers also to these names, besides the address that it is reached at.
    #[must_use]
    pub fn called(self, names: Vec<String>) -> Self {
        Self { names, ..self }
    }

    /// Speaks TLS, and nothing else.
    #[must_use]
    pub fn over(self, tls: Tls) -> Self {
        Self { tls: Some(tls), ..self }
    }

    /// Where it listens.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// What its links begin with: the first of its names or its address, with the port.
    pub fn origin(&self) -> io::Result<String> {
        let address = self.address()?;
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        Ok(match self.names.first() {
            Some(name) if name.contains(':') => format!("{scheme}://[{name}]:{}", address.port()),
            Some(name) => format!("{scheme}://{name}:{}", address.port()),
            None => format!("{scheme}://{address}"),
        })
    }

    /// Answers for ever. What answers may wait for the disk: it has threads of its own.
    pub fn run(
        self,
        handle: impl Fn(&Request) -> Response + Send + Sync + 'static,
    ) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let tls = self.tls.map(|it| TlsAcceptor::from(it.config));
        let door = Arc::new(Door { handle: Arc::new(handle), names: self.names, tls });
        runtime.block_on(accept(self.listener, door))
    }
}

/// What all connections share.
struct Door {
    handle: Handler,
    names: Vec<String>,
    tls: Option<TlsAcceptor>,
}

/// One connection, as its request is answered.
#[derive(Clone)]
struct Caller {
    door: Arc<Door>,
    member: Arc<Member>,
    local: IpAddr,
    /// Whether it speaks HTTP where TLS is spoken.
    is_plain: bool,
}

async fn accept(listener: std::net::TcpListener, door: Arc<Door>) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let crowd = Crowd::default();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let Ok(local) = stream.local_addr() else { continue };
        let (door, member) = (Arc::clone(&door), crowd.join());
        let number = member.number();
        let caller = Caller { door, member, local: local.ip(), is_plain: false };
        let task = tokio::spawn(async move {
            // One who has gone away is told nothing: what was to be kept is kept.
            let _ = tokio::time::timeout(LONGEST, connection(stream, caller)).await;
        });
        crowd.started(number, task.abort_handle());
    }
}

async fn connection(stream: TcpStream, mut caller: Caller) -> io::Result<()> {
    let Some(tls) = caller.door.tls.clone() else { return http(stream, caller).await };
    let mut first = [0];
    stream.peek(&mut first).await?;
    if first[0] == TLS_HANDSHAKE {
        return http(tls.accept(stream).await?, caller).await;
    }
    caller.is_plain = true;
    http(stream, caller).await
}

async fn http(
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    caller: Caller,
) -> io::Result<()> {
    let limit = DefaultBodyLimit::max(MAX_BODY_BYTES);
    let pages = Router::new().fallback(answered).layer(limit).with_state(caller);
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(LONGEST_HEAD)
        .keep_alive(false)
        .half_close(true)
        .max_buf_size(MAX_HEAD_BYTES)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(pages))
        .await
        .map_err(io::Error::other)
}

async fn answered(
    State(caller): State<Caller>,
    (method, uri, headers): (Method, Uri, HeaderMap),
    body: Bytes,
) -> axum::response::Response {
    if caller.is_plain {
        return Response::text(400, "this page is served over TLS: its link begins with https://")
            .sent();
    }
    match is_ours(&uri, &headers, caller.local, &caller.door.names) {
        Ok(()) => {}
        Err(Refused::Nobody) => {
            return Response::text(400, "the request does not say whom it means").sent();
        }
        Err(Refused::Other) => {
            let text = "this server is not called so; `--public-name` gives it a name more";
            return Response::text(421, text).sent();
        }
    }
    let kind = headers.get(header::CONTENT_TYPE).and_then(|it| it.to_str().ok());
    let json = kind.and_then(|it| it.split(';').next()).map(str::trim) == Some("application/json");
    let (method, path) = (method.to_string(), uri.path().to_owned());
    let request = Request { method, path, json, body: body.to_vec() };
    let handle = Arc::clone(&caller.door.handle);
    let response = caller.member.undisturbed(spawn_blocking(move || handle(&request))).await;
    response.unwrap_or_else(|_| Response::text(500, "this went wrong")).sent()
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

    use super::*;
    use crate::Policy;
    use crate::crowd::MAX_CONNECTIONS;

    /// A server that says what it was asked; it answers until the process ends.
    fn echo() -> SocketAddr {
        let listener = Listener::bind(([127, 0, 0, 1], 0).into()).unwrap();
        let address = listener.address().unwrap();
        std::thread::spawn(move || {
            listener.run(|it| {
                assert_ne!(it.path, "/panic");
                let policy = if it.path == "/drawn" { Policy::Drawn } else { Policy::Own };
                let text = format!("{} {} {} {}", it.method, it.path, it.json, it.body.len());
                Response { policy, ..Response::text(200, &text) }
            })
        });
        address
    }

    /// What is answered to these bytes.
    fn ask(address: SocketAddr, bytes: &[u8]) -> String {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut text = Vec::new();
        let _ = stream.read_to_end(&mut text);
        String::from_utf8_lossy(&text).into_owned()
    }

    #[test]
    fn what_is_asked_is_answered_and_says_what_the_page_may_do() {
        let address = echo();
        let get = |path: &str| {
            ask(address, format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes())
        };
        let (own, drawn) = (get("/a?b"), get("/drawn"));
        assert!(own.starts_with("HTTP/1.1 200 OK\r\n"), "{own}");
        assert!(own.ends_with("\r\n\r\nGET /a false 0"), "{own}");
        assert!(own.contains("style-src 'self';") && !own.contains("unsafe"), "{own}");
        assert!(own.contains("connection: close"), "{own}");
        assert!(drawn.contains("style-src 'unsafe-inline';"), "{drawn}");
        let post = "POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json; charset=utf-8\r\n\
                    Content-Length: 2\r\n\r\n{}";
        assert!(ask(address, post.as_bytes()).ends_with("POST /x true 2"));
    }

    #[test]
    fn what_is_no_request_of_ours_is_refused_and_harms_nobody() {
        let address = echo();
        let status = |text: &str| {
            let answer = ask(address, text.as_bytes());
            answer.split(' ').nth(1).map_or(0, |it| it.parse::<u16>().unwrap())
        };
        let post = |headers: &str| {
            status(&format!("POST /x HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n\r\n"))
        };
        assert_eq!(status("\0\r\n\r\n"), 400);
        let long = "x".repeat(MAX_BODY_BYTES + 1);
        assert_eq!(post(&format!("Content-Length: {}\r\n\r\n{long}", long.len())), 413);
        assert_eq!(post("Content-Length: 99999999"), 400);
        assert_eq!(post("Content-Length: 99999999999999999999999999"), 400);
        assert_eq!(post("Content-Length: +3"), 400);
        assert_eq!(post("Content-Length: 3\r\nContent-Length: 4"), 400);
        assert_eq!(post(&"a: b\r\n".repeat(80)), 431);
        assert_eq!(post(&format!("a: {}", "b".repeat(MAX_HEAD_BYTES))), 431);
        assert_eq!(status("GET /panic HTTP/1.1\r\nHost: localhost\r\n\r\n"), 500);
        // What is cut off is answered by nothing.
        for n in [1, 12, 20] {
            assert_eq!(status(&"GET / HTTP/1.1\r\n\r\n"[..n.min(17)]), 0, "{n}");
        }
        assert_eq!(status("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"), 200);
    }

    #[test]
    fn a_request_that_means_somebody_else_is_refused() {
        let address = echo();
        let get = |host: &str| ask(address, format!("GET / HTTP/1.1\r\n{host}\r\n\r\n").as_bytes());
        for host in ["Host: evil.example", "Host: evil.example:80", "Host: 10.1.2.3"] {
            assert!(get(host).starts_with("HTTP/1.1 421 "), "{host}");
        }
        assert!(get("a: b").starts_with("HTTP/1.1 400 "));
        assert!(get(&format!("Host: {address}")).starts_with("HTTP/1.1 200 "));
        let whole = "GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n";
        assert!(ask(address, whole.as_bytes()).starts_with("HTTP/1.1 421 "));
    }

    #[test]
    fn whoever_dawdles_delays_nobody() {
        let address = echo();
        // More than may be open: half of them say nothing, half of them begin a request.
        let slow: Vec<std::net::TcpStream> = (0..MAX_CONNECTIONS + 100)
            .map(|i| {
                let mut stream = std::net::TcpStream::connect(address).unwrap();
                if i % 2 == 0 {
                    stream.write_all(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Le").unwrap();
                }
                stream
            })
            .collect();
        let start = std::time::Instant::now();
        for _ in 0..20 {
            let answer = ask(address, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        }
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
        // The oldest had to go: it hears the end.
        let mut oldest = &slow[0];
        assert!(matches!(oldest.read(&mut [0]), Ok(0) | Err(_)));
    }

    #[test]
    fn tokens_differ() {
        let (one, other) = (token().unwrap(), token().unwrap());
        assert!(one.len() == 32 && one != other);
    }
}
