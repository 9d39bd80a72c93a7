//! Data in, text out: pictures of a graph, tables.
//!
//! Pure: no files, no clock, no terminal, no colours. The same data gives the same bytes.

pub mod changes;
pub mod graph;
pub mod layout;
pub mod svg;
pub mod table;
