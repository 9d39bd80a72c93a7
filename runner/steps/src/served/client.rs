//! One question to a server, asked until it is answered or refused for good; and many at once.
//!
//! What may pass is tried again: too many questions, an error of the server, no connection, no
//! answer in time, an answer that is none. The key is in a header of the request and nowhere else:
//! it is taken out of everything that the server says.

use std::io::Read;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use ureq::Agent;
use ureq::tls::{Certificate, PemItem, TlsConfig, parse_pem};

use super::pace::{LONGEST_ASKED, Pace, WAITS, retry_after};
use crate::cx::Server;
use crate::{Cx, StepError};

/// A longer reply is none.
const MAX_REPLY_BYTES: u64 = 64 << 20;
/// Replies above this are read one at a time, so that the concurrency does not multiply the memory.
const LARGE_REPLY_BYTES: u64 = 1 << 20;

/// A server, and how it is asked.
pub(crate) struct Client {
    agent: Agent,
    server: Server,
    pub(crate) pace: Pace,
    /// How many requests were sent, and how many of them because one before had failed.
    pub(crate) sent: AtomicU64,
    pub(crate) again: AtomicU64,
    /// Held by the one large reply that is read and parsed.
    pub(crate) large: Mutex<()>,
    /// How many replies repeated the key.
    pub(crate) masked: AtomicU64,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The server does not take this request.
    Status(u16, String),
    /// It never answered.
    Never(String),
    /// Nothing is asked any more.
    Closed,
}

/// Whom to trust: the certificates of a file where one is named, else Mozilla's, which are built in.
fn tls(server: &Server) -> Result<TlsConfig, StepError> {
    let Some(path) = &server.authorities else { return Ok(TlsConfig::default()) };
    let bytes = std::fs::read(path).map_err(StepError::io(path))?;
    let certificates: Vec<Certificate<'static>> = parse_pem(&bytes)
        .filter_map(|it| match it {
            Ok(PemItem::Certificate(it)) => Some(it),
            _ => None,
        })
        .collect();
    if certificates.is_empty() {
        let url = server.endpoint.url.clone();
        let reason = format!("`{}` holds no certificate to trust", path.display());
        return Err(StepError::Endpoint { url, reason });
    }
    Ok(TlsConfig::builder().root_certs(certificates.into()).build())
}

impl Client {
    pub(crate) fn new(server: Server) -> Result<Self, StepError> {
        let endpoint = &server.endpoint;
        if let (Some(key), name) = (&server.key, &endpoint.key_env) {
            let fits = |it: u8| it.is_ascii_graphic();
            if key.text().is_empty() || !key.text().bytes().all(fits) {
                let name = name.as_deref().unwrap_or_default();
                let reason = format!("what `{name}` holds cannot be sent as a key");
                return Err(StepError::Endpoint { url: endpoint.url.clone(), reason });
            }
        }
        let n = endpoint.concurrency as usize;
        let agent: Agent = Agent::config_builder()
            .tls_config(tls(&server)?)
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .user_agent("kun")
            .timeout_global(Some(endpoint.timeout))
            .max_idle_connections(n)
            .max_idle_connections_per_host(n)
            .build()
            .into();
        let pace = Pace::new(endpoint.requests_per_minute);
        let [sent, again, masked] = [const { AtomicU64::new(0) }; 3];
        Ok(Self { agent, server, pace, sent, again, masked, large: Mutex::new(()) })
    }

    pub(crate) fn url(&self) -> &str {
        &self.server.endpoint.url
    }

    pub(crate) fn model(&self) -> &str {
        &self.server.endpoint.model
    }

    /// Asks; `read` says what an answer is, or why it is none.
    pub(crate) fn ask<T>(
        &self,
        path: &str,
        body: &Value,
        read: &dyn Fn(&Value) -> Result<T, String>,
    ) -> Result<T, Refusal> {
        let tries = self.server.endpoint.retries + 1;
        let mut last = String::new();
        for n in 0..tries {
            if n > 0 {
                self.again.fetch_add(1, Ordering::Relaxed);
                if !self.pace.wait(WAITS.before(n - 1)) {
                    return Err(Refusal::Closed);
                }
            }
            if !self.pace.turn() {
                return Err(Refusal::Closed);
            }
            match self.send(path, body) {
                Reply::Json(it, _large) => match read(&it) {
                    Ok(it) => return Ok(it),
                    Err(reason) => last = reason,
                },
                Reply::Later(reason, None) => last = reason,
                Reply::Later(reason, Some(wait)) if wait <= LONGEST_ASKED => {
                    last = reason;
                    self.pace.hold(wait);
                }
                Reply::Later(reason, Some(wait)) => {
                    let wait = wait.as_secs();
                    let reason = format!("{reason}, and wants to be left alone for {wait} s");
                    return Err(Refusal::Never(reason));
                }
                Reply::Never(reason) => return Err(Refusal::Never(reason)),
                Reply::No(status, reason) => return Err(Refusal::Status(status, reason)),
            }
        }
        let times = if tries == 1 { "once".to_owned() } else { format!("{tries} times") };
        Err(Refusal::Never(format!("was asked {times}; the last time it {last}")))
    }

    fn send(&self, path: &str, body: &Value) -> Reply<'_> {
        self.sent.fetch_add(1, Ordering::Relaxed);
        let url = format!("{}/{path}", self.url());
        let mut request = self.agent.post(&url).content_type("application/json");
        if let Some(key) = &self.server.key {
            request = request.header("authorization", format!("Bearer {}", key.text()));
        }
        let body = serde_json::to_vec(body).expect("texts and numbers are always JSON");
        let mut response = match request.send(&body[..]) {
            Ok(it) => it,
            Err(it) => {
                return match untrusted(&it) {
                    Some(reason) => Reply::Never(reason),
                    None => Reply::Later(failed(&it), None),
                };
            }
        };
        let status = response.status().as_u16();
        let header = |name: &str| {
            response.headers().get(name).and_then(|it| it.to_str().ok()).map(str::to_owned)
        };
        let wait = header("retry-after");
        let wait = wait.and_then(|it| retry_after(&it, header("date").as_deref()));
        let reader = response.body_mut().with_config().limit(MAX_REPLY_BYTES).reader();
        let (text, large) = match self.whole(reader) {
            Ok(it) => it,
            Err(it) if status == 200 => return Reply::Later(failed(&it), None),
            Err(_) => (Vec::new(), None),
        };
        let mut json: Option<Value> = serde_json::from_slice(&text).ok();
        // Here, so that nothing behind this line can keep the key: no answer, no reason, no log.
        if let (Some(json), Some(key)) = (&mut json, &self.server.key)
            && key.mask(json)
        {
            self.masked.fetch_add(1, Ordering::Relaxed);
        }
        match (status, json) {
            (200, Some(it)) => Reply::Json(it, large),
            (200, None) => Reply::Later("answered with what is no JSON".to_owned(), None),
            (408 | 425 | 429 | 500..=599, json) => {
                Reply::Later(self.said(status, json.as_ref()), wait)
            }
            (_, json) => Reply::No(status, self.said(status, json.as_ref())),
        }
    }

    /// A reply's bytes, and the turn that a large one must wait for.
    fn whole(
        &self,
        mut reader: impl Read,
    ) -> Result<(Vec<u8>, Option<MutexGuard<'_, ()>>), ureq::Error> {
        let mut text = Vec::new();
        let n = reader.by_ref().take(LARGE_REPLY_BYTES).read_to_end(&mut text)?;
        if (n as u64) < LARGE_REPLY_BYTES {
            return Ok((text, None));
        }
        let large = self.large.lock().unwrap_or_else(PoisonError::into_inner);
        reader.read_to_end(&mut text)?;
        Ok((text, Some(large)))
    }

    /// A status and what the server says to it, without the key.
    fn said(&self, status: u16, json: Option<&Value>) -> String {
        let message = json.and_then(|it| {
            let error = it.get("error").unwrap_or(it);
            let texts = [Some(error), error.get("message"), it.get("detail"), it.get("message")];
            texts.into_iter().flatten().find_map(Value::as_str).map(str::to_owned)
        });
        let Some(mut message) = message else { return format!("answered with status {status}") };
        if let Some(key) = &self.server.key {
            message = key.masked(&message);
        }
        let shown: String = message.chars().filter(|it| !it.is_control()).take(300).collect();
        format!("answered with status {status}: {shown}")
    }

    /// The step's error for a refusal.
    pub(crate) fn error(&self, refusal: Refusal) -> StepError {
        let name = self.server.endpoint.key_env.as_deref();
        let reason = match (refusal, name) {
            (Refusal::Closed, _) => return StepError::Stopped,
            (Refusal::Never(it), _) => it,
            (Refusal::Status(401 | 403, it), Some(name)) => format!("{it} (its key is `{name}`)"),
            (Refusal::Status(401 | 403, it), None) => {
                format!("{it} (it was asked without a key: `key_env` names one)")
            }
            (Refusal::Status(_, it), _) => it,
        };
        StepError::Endpoint { url: self.url().to_owned(), reason }
    }
}

enum Reply<'a> {
    Json(Value, Option<MutexGuard<'a, ()>>),
    /// It will be the same another time.
    Never(String),
    /// It may answer another time, and says when.
    Later(String, Option<Duration>),
    No(u16, String),
}

/// Why the server's certificate is not trusted, where that is what went wrong: asking again changes nothing.
fn untrusted(error: &ureq::Error) -> Option<String> {
    let error = match error {
        ureq::Error::Rustls(error) => error,
        ureq::Error::Io(error) => error.get_ref()?.downcast_ref::<rustls::Error>()?,
        _ => return None,
    };
    let rustls::Error::InvalidCertificate(_) = error else { return None };
    // The verifier's own reason is told as text alone.
    let text = error.to_string();
    Some(match text.contains("CaUsedAsEndEntity") {
        true => {
            "shows the certificate of an authority (CA:TRUE) as its own, which is never trusted: \
                 it needs one with CA:FALSE, signed by itself or by what `SSL_CERT_FILE` holds"
                .to_owned()
        }
        false => format!("is not trusted ({text}); `SSL_CERT_FILE` names the authorities to trust"),
    })
}

fn failed(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Timeout(_) => "did not answer in time".to_owned(),
        ureq::Error::BodyExceedsLimit(_) => "answered with more than 64 MiB".to_owned(),
        ureq::Error::ConnectionFailed => "could not be reached".to_owned(),
        ureq::Error::HostNotFound => "could not be found".to_owned(),
        ureq::Error::Io(it) => format!("broke off: {it}"),
        other => format!("broke off: {other}"),
    }
}

/// What a question came to.
pub(crate) type Outcome<A> = (u64, Result<A, Refusal>);

/// Questions on their way to one server, several at once.
pub(crate) struct Pool<Q, A> {
    client: Arc<Client>,
    questions: Option<Sender<(u64, Q)>>,
    outcomes: Receiver<Outcome<A>>,
    pub(crate) pending: usize,
}

/// How often is looked whether the step shall stop.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long answers that are under way are waited for when the step ends early.
const GRACE: Duration = Duration::from_secs(2);

impl<Q: Send + 'static, A: Send + 'static> Pool<Q, A> {
    /// `ask` is called by as many threads as the endpoint allows questions at once.
    pub(crate) fn start(
        client: Arc<Client>,
        ask: impl Fn(&Client, Q) -> Result<A, Refusal> + Send + Sync + 'static,
    ) -> Self {
        let (questions, taken) = channel::<(u64, Q)>();
        let (said, outcomes) = channel();
        let (taken, ask) = (Arc::new(Mutex::new(taken)), Arc::new(ask));
        for _ in 0..client.server.endpoint.concurrency {
            let (client, taken, said) = (Arc::clone(&client), Arc::clone(&taken), said.clone());
            let ask = Arc::clone(&ask);
            // Not waited for: a server that hangs must not keep a step that is told to stop.
            std::thread::spawn(move || {
                loop {
                    let next = taken.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok((row, question)) = next else { return };
                    if said.send((row, ask(&client, question))).is_err() {
                        return;
                    }
                }
            });
        }
        Self { client, questions: Some(questions), outcomes, pending: 0 }
    }

    pub(crate) fn ask(&mut self, row: u64, question: Q) {
        // The threads live as long as this.
        if let Some(it) = &self.questions
            && it.send((row, question)).is_ok()
        {
            self.pending += 1;
        }
    }

    /// The next outcome, while the step may go on.
    pub(crate) fn next(&mut self, cx: &Cx<'_>) -> Result<Option<Outcome<A>>, StepError> {
        while self.pending > 0 {
            cx.check_stop()?;
            match self.outcomes.recv_timeout(LOOK_EVERY) {
                Ok(it) => {
                    self.pending -= 1;
                    return Ok(Some(it));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        Ok(None)
    }

    /// Asks nothing more, and gives the answers that come in a moment: they are paid for.
    pub(crate) fn close(&mut self) -> Vec<(u64, A)> {
        self.client.pace.close();
        self.questions = None;
        let mut rest = Vec::new();
        let end = std::time::Instant::now() + GRACE;
        while self.pending > 0 {
            let left = end.saturating_duration_since(std::time::Instant::now());
            let Ok((row, outcome)) = self.outcomes.recv_timeout(left) else { break };
            self.pending -= 1;
            rest.extend(outcome.ok().map(|it| (row, it)));
        }
        rest
    }
}

impl<Q, A> Drop for Pool<Q, A> {
    fn drop(&mut self) {
        self.client.pace.close();
    }
}
