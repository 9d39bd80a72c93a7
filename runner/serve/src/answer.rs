//! What is asked, and what is answered, as pages of ours see it.

use axum::body::Body;
use axum::http::header;

/// A request.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// `GET` or another.
    pub method: String,
    /// What is asked for, without what stands behind a question mark.
    pub path: String,
    /// Whether the body says that it is JSON.
    pub json: bool,
    /// What was sent with it.
    pub body: Vec<u8>,
}

/// A response.
#[derive(Clone, Debug)]
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

    /// As it is sent, with what a browser is told to forbid.
    pub(crate) fn sent(self) -> axum::response::Response {
        let style = match self.policy {
            Policy::Own => "'self'",
            Policy::Drawn => "'unsafe-inline'",
        };
        let policy = format!(
            "default-src 'none'; script-src 'self'; style-src {style}; connect-src 'self'; \
             img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        );
        let response = axum::http::Response::builder()
            .status(self.status)
            .header(header::CONTENT_TYPE, self.kind)
            .header(header::CONTENT_SECURITY_POLICY, policy)
            .header(header::X_CONTENT_TYPE_OPTIONS, "nosniff")
            .header(header::REFERRER_POLICY, "no-referrer")
            .header(header::CACHE_CONTROL, "no-store")
            .header("cross-origin-resource-policy", "same-origin")
            .body(Body::from(self.body));
        response.unwrap_or_else(|_| axum::response::Response::new(Body::empty()))
    }
}
