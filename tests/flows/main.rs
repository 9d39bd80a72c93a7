//! Whole runs by the real binary that go wrong on purpose: killed, out of room, interrupted, in
//! company, and with input that means harm. `README.md` beside this file says how to run more.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod company;
mod fault;
mod hostile;
mod interrupt;
mod place;
mod torture;
mod training;
