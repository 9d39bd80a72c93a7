//! Against the definition in f64 and differences.
