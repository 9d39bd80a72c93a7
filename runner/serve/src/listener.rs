//! Listens, with bounds on size, time and number: one request for each connection.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, Method, Uri, header};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use crate::{Request, Response};

const MAX_CONNECTIONS: usize = 64;
const MAX_HEAD_BYTES: usize = 16 << 10;
const MAX_HEADERS: usize = 64;
const MAX_BODY_BYTES: usize = 64 << 10;
/// A connection, from its first byte to its last.
const LONGEST: Duration = Duration::from_secs(20);
/// How long nothing is accepted after that failed: there may be too many open files.
const PAUSE: Duration = Duration::from_millis(50);

/// What answers.
type Handler = Arc<dyn Fn(&Request) -> Response + Send + Sync>;

/// Where requests come in.
#[derive(Debug)]
pub struct Listener(std::net::TcpListener);

impl Listener {
    /// Listens where it was asked to; port 0 is any that is free.
    pub fn bind(at: SocketAddr) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(at)?;
        listener.set_nonblocking(true)?;
        Ok(Self(listener))
    }

    /// Where it listens.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Answers for ever. What answers may wait for the disk: it has threads of its own.
    pub fn run(
        self,
        handle: impl Fn(&Request) -> Response + Send + Sync + 'static,
    ) -> io::Result<()> {
        let handle: Handler = Arc::new(handle);
        let limit = DefaultBodyLimit::max(MAX_BODY_BYTES);
        let pages = Router::new().fallback(answered).layer(limit).with_state(handle);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(accept(self.0, pages))
    }
}

async fn accept(listener: std::net::TcpListener, pages: Router) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    while let Ok(place) = Arc::clone(&room).acquire_owned().await {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let pages = pages.clone();
        tokio::spawn(async move {
            // One who has gone away is told nothing: what was to be kept is kept.
            let _ = tokio::time::timeout(LONGEST, connection(stream, pages)).await;
            drop(place);
        });
    }
    Ok(())
}

async fn connection(stream: TcpStream, pages: Router) -> Result<(), hyper::Error> {
    http1::Builder::new()
        .timer(TokioTimer::new())
        .keep_alive(false)
        .half_close(true)
        .max_buf_size(MAX_HEAD_BYTES)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(pages))
        .await
}

async fn answered(
    State(handle): State<Handler>,
    (method, uri, headers): (Method, Uri, HeaderMap),
    body: Bytes,
) -> axum::response::Response {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|it| it.to_str().ok());
    let json = kind.and_then(|it| it.split(';').next()).map(str::trim) == Some("application/json");
    let (method, path) = (method.to_string(), uri.path().to_owned());
    let request = Request { method, path, json, body: body.to_vec() };
    let response = spawn_blocking(move || handle(&request)).await;
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
        let get = |path: &str| ask(address, format!("GET {path} HTTP/1.1\r\n\r\n").as_bytes());
        let (own, drawn) = (get("/a?b"), get("/drawn"));
        assert!(own.starts_with("HTTP/1.1 200 OK\r\n"), "{own}");
        assert!(own.ends_with("\r\n\r\nGET /a false 0"), "{own}");
        assert!(own.contains("style-src 'self';") && !own.contains("unsafe"), "{own}");
        assert!(own.contains("connection: close"), "{own}");
        assert!(drawn.contains("style-src 'unsafe-inline';"), "{drawn}");
        let post = "POST /x HTTP/1.1\r\nContent-Type: application/json; charset=utf-8\r\n\
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
        let post = |headers: &str| status(&format!("POST /x HTTP/1.1\r\n{headers}\r\n\r\n"));
        assert_eq!(status("\0\r\n\r\n"), 400);
        let long = "x".repeat(MAX_BODY_BYTES + 1);
        assert_eq!(post(&format!("Content-Length: {}\r\n\r\n{long}", long.len())), 413);
        assert_eq!(post("Content-Length: 99999999"), 400);
        assert_eq!(post("Content-Length: 99999999999999999999999999"), 400);
        assert_eq!(post("Content-Length: +3"), 400);
        assert_eq!(post("Content-Length: 3\r\nContent-Length: 4"), 400);
        assert_eq!(post(&"a: b\r\n".repeat(80)), 431);
        assert_eq!(post(&format!("a: {}", "b".repeat(MAX_HEAD_BYTES))), 431);
        assert_eq!(status("GET /panic HTTP/1.1\r\n\r\n"), 500);
        // What is cut off is answered by nothing.
        for n in [1, 12, 20] {
            assert_eq!(status(&"GET / HTTP/1.1\r\n\r\n"[..n.min(17)]), 0, "{n}");
        }
        assert_eq!(status("GET / HTTP/1.1\r\n\r\n"), 200);
    }

    #[test]
    fn tokens_differ() {
        let (one, other) = (token().unwrap(), token().unwrap());
        assert!(one.len() == 32 && one != other);
    }
}
