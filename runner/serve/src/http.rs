//! The little of HTTP/1.1 that a page needs: one request for each connection, bounded in size and
//! time. Why not a framework: `doc/decisions/0018-annotate.md`.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

const MAX_HEAD_BYTES: usize = 16 << 10;
const MAX_BODY_BYTES: usize = 64 << 10;
const MAX_HEADERS: usize = 64;
const LONGEST: Duration = Duration::from_secs(20);

/// A request.
#[derive(Debug, Default)]
pub struct Request {
    /// `GET` or another.
    pub method: String,
    /// What is asked for.
    pub path: String,
    /// Whether the body says that it is JSON.
    pub json: bool,
    /// What was sent with it.
    pub body: Vec<u8>,
}

/// A response.
#[derive(Debug)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// The media type.
    pub kind: &'static str,
    /// What is sent.
    pub body: Vec<u8>,
    /// What the page may do.
    pub policy: Policy,
}

/// What a page may do besides asking where it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Its script and its style come in files of their own.
    Own,
    /// Its style stands in it, as in pages with pictures that open from a disk too.
    Drawn,
}

impl Response {
    /// A text.
    pub fn text(status: u16, text: &str) -> Self {
        Self::of("text/plain; charset=utf-8", text).with(status)
    }

    /// A file.
    pub fn of(kind: &'static str, text: &str) -> Self {
        Self { status: 200, kind, body: text.as_bytes().to_vec(), policy: Policy::Own }
    }

    /// With another status.
    pub fn with(self, status: u16) -> Self {
        Self { status, ..self }
    }
}

const HEADERS: &str = "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; \
frame-ancestors 'none'\r\nX-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n\
Cache-Control: no-store\r\nCross-Origin-Resource-Policy: same-origin\r\nConnection: close\r\n";

/// Answers one request.
pub(crate) fn answer(mut stream: TcpStream, handle: impl FnOnce(&Request) -> Response) {
    let until = Instant::now() + LONGEST;
    let _ = stream.set_write_timeout(Some(LONGEST));
    let response = match read(&mut stream, until) {
        Ok(request) => handle(&request),
        Err(Some(status)) => Response::text(status, reason(status)),
        Err(None) => return,
    };
    let style = match response.policy {
        Policy::Own => "'self'",
        Policy::Drawn => "'unsafe-inline'",
    };
    let head = format!(
        "HTTP/1.1 {} {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nContent-Security-Policy: \
         default-src 'none'; script-src 'self'; style-src {style}; {HEADERS}\r\n",
        response.status,
        reason(response.status),
        response.kind,
        response.body.len()
    );
    // One who has gone away is told nothing: what was to be kept is kept.
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&response.body));
    let _ = stream.shutdown(std::net::Shutdown::Write);
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        409 => "Conflict",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        422 => "Unprocessable Content",
        431 => "Request Header Fields Too Large",
        501 => "Not Implemented",
        _ => "Internal Server Error",
    }
}

/// What a head says, and how long it is.
#[derive(Debug)]
pub struct Parsed {
    /// What it says; the body is not there yet.
    pub request: Request,
    /// How many bytes it has.
    pub head: usize,
    /// How many bytes come behind it.
    pub body: usize,
}

/// A request; the status with which it is refused; nothing, where nobody is there any more.
fn read(stream: &mut TcpStream, until: Instant) -> Result<Request, Option<u16>> {
    let mut bytes = Vec::new();
    let parsed = loop {
        if let Some(it) = parse(&bytes).map_err(Some)? {
            break it;
        }
        if bytes.len() > MAX_HEAD_BYTES {
            return Err(Some(431));
        }
        more(stream, &mut bytes, until)?;
    };
    while bytes.len() < parsed.head + parsed.body {
        more(stream, &mut bytes, until)?;
    }
    let body = bytes[parsed.head..parsed.head + parsed.body].to_vec();
    Ok(Request { body, ..parsed.request })
}

fn more(stream: &mut TcpStream, bytes: &mut Vec<u8>, until: Instant) -> Result<(), Option<u16>> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() || stream.set_read_timeout(Some(left)).is_err() {
        return Err(None);
    }
    let mut buffer = [0; 4096];
    match stream.read(&mut buffer) {
        Ok(0) | Err(_) => Err(None),
        Ok(n) => {
            bytes.extend(&buffer[..n]);
            Ok(())
        }
    }
}

/// The head of a request, nothing as long as it is not whole; the status with which it is refused.
pub fn parse(bytes: &[u8]) -> Result<Option<Parsed>, u16> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut head = httparse::Request::new(&mut headers);
    let n = match head.parse(bytes) {
        Ok(httparse::Status::Complete(n)) => n,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(431),
        Err(_) => return Err(400),
    };
    let (mut body, mut json) = (None, false);
    for it in head.headers.iter() {
        let value = std::str::from_utf8(it.value).map_err(|_| 400_u16)?.trim();
        if it.name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(501);
        } else if it.name.eq_ignore_ascii_case("content-length") {
            let digits = !value.is_empty() && value.bytes().all(|it| it.is_ascii_digit());
            let length = value.parse::<usize>().ok().filter(|_| digits).ok_or(400_u16)?;
            if body.replace(length).is_some_and(|it| it != length) {
                return Err(400);
            }
        } else if it.name.eq_ignore_ascii_case("content-type") {
            json = value.split(';').next() == Some("application/json");
        }
    }
    let body = body.unwrap_or(0);
    if body > MAX_BODY_BYTES {
        return Err(413);
    }
    let text = |it: Option<&str>| it.unwrap_or_default().to_owned();
    let (method, path) = (text(head.method), text(head.path));
    Ok(Some(Parsed { request: Request { method, path, json, body: Vec::new() }, head: n, body }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(text: &str) -> Option<u16> {
        parse(text.as_bytes()).err()
    }

    #[test]
    fn what_is_no_request_of_ours_is_refused() {
        assert_eq!(status("GET / HTTP/1.1\r\n"), None);
        assert_eq!(status("\0\r\n\r\n"), Some(400));
        let post = |headers: &str| status(&format!("POST /x HTTP/1.1\r\n{headers}\r\n\r\n"));
        assert_eq!(post("Transfer-Encoding: chunked"), Some(501));
        assert_eq!(post("Content-Length: 99999999"), Some(413));
        assert_eq!(post("Content-Length: 99999999999999999999999999"), Some(400));
        assert_eq!(post("Content-Length: +3"), Some(400));
        assert_eq!(post("Content-Length: 3\r\nContent-Length: 4"), Some(400));
        assert_eq!(post(&"a: b\r\n".repeat(80)), Some(431));
    }

    #[test]
    fn a_request_is_read_as_it_is() {
        let text = "POST /a/x/say HTTP/1.1\r\nContent-Type: application/json; charset=utf-8\r\n\
                    Content-Length: 2\r\n\r\n{}";
        let it = parse(text.as_bytes()).unwrap().unwrap();
        assert_eq!((it.body, it.head + 2), (2, text.len()));
        assert!(it.request.json && it.request.method == "POST" && it.request.path == "/a/x/say");
    }
}
