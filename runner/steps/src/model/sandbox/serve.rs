//! The process in which templates of others are rendered: `kun render`.
//!
//! It reads requests on standard input and answers on standard output; one template for its whole
//! life. Before it touches the template it takes its own address space and processor time away:
//! past the first an allocation fails and the process aborts, past the second the kernel ends it.
//! Who waits for the answer sees which ([`super::process`]). It has no other files, and ends when
//! its input does, in the middle of a template too.

use std::io;
use std::sync::mpsc;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value as Json, json};

use super::codec;
use super::jinja::Compiled;
use super::{Context, RenderError, Undefined};

/// The address space of the process, the program and its stacks included, whatever the request.
pub(super) const MEMORY_MIB: u64 = 768;
/// What a long conversation may take besides: it is held some times over while it is rendered.
const MEMORY_TIMES_REQUEST: u64 = 32;
/// Processor time for one request. What does not loop ends within milliseconds.
pub(super) const PROCESSOR_SECONDS: u64 = 30;
/// Templates nest blocks and call macros; the engine stops them at a depth that needs less.
const STACK_BYTES: usize = 16 << 20;

/// Answers requests until there are none.
///
/// # Errors
///
/// A stream that ends in the middle of a message, or a system that sets no limits.
pub fn serve() -> io::Result<()> {
    // An aborted process shall leave no image of its memory behind.
    set(Resource::Core, 0)?;
    let (requests, queue) = mpsc::channel::<Vec<u8>>();
    let renderer = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(move || {
        let mut compiled = None;
        let mut out = io::stdout().lock();
        while let Ok(request) = queue.recv() {
            codec::send(&mut out, &answer(&mut compiled, &request)?)?;
        }
        Ok(())
    })?;
    let mut input = io::stdin().lock();
    while let Some(request) = codec::receive(&mut input, usize::MAX)? {
        if requests.send(request).is_err() {
            return renderer.join().unwrap_or_else(|_| Err(codec::broken("the renderer panicked")));
        }
    }
    // Nobody waits for what is still being rendered.
    Ok(())
}

fn answer(compiled: &mut Option<Compiled>, request: &[u8]) -> io::Result<Vec<u8>> {
    limit(request.len() as u64)?;
    let request = codec::decode(request)?;
    let result = match compiled {
        None => open(&request).map(|it| {
            let names = json!({ "undeclared": it.undeclared() });
            *compiled = Some(it);
            names
        }),
        Some(it) => render(it, &request).map(|text| json!({ "text": text })),
    };
    let answer = result.unwrap_or_else(
        |it| json!({ "reason": it.reason, "line": it.line, "undefined": it.undefined }),
    );
    let mut out = Vec::new();
    codec::encode(&answer, &mut out);
    Ok(out)
}

fn open(request: &Json) -> Result<Compiled, RenderError> {
    let source = request["source"].as_str().unwrap_or_default();
    let strict = request["strict"] == true;
    Compiled::new(source, if strict { Undefined::Strict } else { Undefined::Lenient })
}

fn render(compiled: &Compiled, request: &Json) -> Result<String, RenderError> {
    let limit = request[0].as_u64().unwrap_or(0);
    let context: Context<'_> = request[1]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, it)| (name.as_str(), it))
        .collect();
    compiled.render(&context, usize::try_from(limit).unwrap_or(usize::MAX))
}

/// Sets the bounds for one request of this many bytes.
fn limit(request: u64) -> io::Result<()> {
    let memory = (MEMORY_MIB << 20).saturating_add(request.saturating_mul(MEMORY_TIMES_REQUEST));
    set(Resource::As, memory)?;
    let used = clock_gettime(ClockId::ProcessCPUTime).tv_sec.unsigned_abs();
    set(Resource::Cpu, used + PROCESSOR_SECONDS + 1)
}

/// Moves a limit as far as the one that the process was given allows, so that it can be moved again.
fn set(resource: Resource, current: u64) -> io::Result<()> {
    let maximum = getrlimit(resource).maximum;
    let current = maximum.map_or(current, |it| current.min(it));
    Ok(setrlimit(resource, Rlimit { current: Some(current), maximum })?)
}
