//! For tests: a server on this machine that does what it is told, and remembers what it was asked.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

/// What was asked.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) path: String,
    pub(crate) authorization: Option<String>,
    pub(crate) body: Value,
}

impl Asked {
    /// The text of the last message.
    pub(crate) fn said(&self) -> &str {
        let last = self.body["messages"].as_array().and_then(|it| it.last());
        last.and_then(|it| it["content"].as_str()).unwrap_or_default()
    }
}

/// What the server does.
pub(crate) enum Does {
    Answers(Value),
    /// A status, more headers, and a body.
    Says(u16, &'static str, String),
    /// Half of what it promised.
    Half,
    /// Nothing, until the other side goes.
    Hangs,
    /// Closes the connection without a word.
    Goes,
}

/// A server; it lives as long as the test.
pub(crate) struct Server {
    pub(crate) url: String,
    pub(crate) asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    /// `script` is told the number of the request, from 0, and what is asked.
    pub(crate) fn start(script: impl Fn(usize, &Asked) -> Does + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (all, script) = (Arc::clone(&asked), Arc::new(script));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (all, script) = (Arc::clone(&all), Arc::clone(&script));
                std::thread::spawn(move || {
                    let _ = serve(&stream.unwrap(), &all, &*script);
                });
            }
        });
        Self { url, asked }
    }

    /// How often it was asked.
    pub(crate) fn n_asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

fn serve(
    stream: &TcpStream,
    all: &Mutex<Vec<Asked>>,
    script: &dyn Fn(usize, &Asked) -> Does,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut writer = stream;
    while let Some(asked) = request(&mut reader)? {
        let n = {
            let mut all = all.lock().unwrap();
            all.push(asked.clone());
            all.len() - 1
        };
        let (status, headers, body) = match script(n, &asked) {
            Does::Answers(it) => (200, "", it.to_string()),
            Does::Says(status, headers, body) => (status, headers, body),
            Does::Half => {
                write!(writer, "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{{\"choices\":")?;
                return Ok(());
            }
            Does::Hangs => {
                reader.read_to_end(&mut Vec::new())?;
                return Ok(());
            }
            Does::Goes => return Ok(()),
        };
        let n = body.len();
        write!(writer, "HTTP/1.1 {status} Said\r\n{headers}content-length: {n}\r\n\r\n{body}")?;
    }
    Ok(())
}

fn request(reader: &mut impl BufRead) -> std::io::Result<Option<Asked>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let (mut length, mut authorization) = (0, None);
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().unwrap(),
            "authorization" => authorization = Some(value.trim().to_owned()),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let body = serde_json::from_slice(&body).unwrap();
    Ok(Some(Asked { path, authorization, body }))
}

/// An answer as a chat server gives it.
pub(crate) fn chat(text: &str) -> Value {
    json!({
        "choices": [{
            "message": { "role": "assistant", "content": text },
            "finish_reason": "stop",
            "logprobs": { "content": [{ "logprob": -0.5 }, { "logprob": -0.25 }] },
        }],
        "usage": { "prompt_tokens": 7, "completion_tokens": 3 },
    })
}
