//! Whole runs by the real binary that go wrong on purpose: killed, out of room, interrupted, in
//! company, and with input that means harm. `README.md` beside this file says how to run more.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod collect;
mod company;
mod endpoint;
mod fault;
mod hostile;
mod inputs;
mod interrupt;
mod leftover;
mod method;
mod place;
mod rot;
mod seed;
#[expect(dead_code, reason = "the unit tests of the client use the rest")]
#[path = "../../runner/steps/src/served/server.rs"]
mod server;
mod study;
mod template;
mod torture;
mod training;
