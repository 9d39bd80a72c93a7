//! The engine on graphs made by hand, without a manifest and without the binary.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod exact;
mod programs;
mod stage;
