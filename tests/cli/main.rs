//! What a user sees: the binary run as a person would, whole screens as snapshots.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod annotate;
mod budget;
mod check;
mod compare;
mod completions;
mod diff;
mod doctor;
mod fmt;
mod gc;
mod graph;
mod guards;
mod kinds;
mod lineage;
mod lock;
mod log;
mod man;
mod model;
mod new;
mod out;
mod plan;
mod project;
mod reference;
mod report;
mod run;
mod schema;
mod shared;
mod show;
mod status;
mod usage;
mod verify;
mod watch;
mod why;
mod why_rows;
