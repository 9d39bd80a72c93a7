//! What a user sees: the binary run as a person would, whole screens as snapshots.

mod hello;
mod project;
