//! Data in, text out: pages with tables and charts, pictures of a graph, tables for a terminal.
//!
//! Pure: no files, no clock, no terminal, no colours. The same data gives the same bytes.

pub mod changes;
pub mod chart;
pub mod graph;
pub mod layout;
pub mod page;
pub mod svg;
pub mod table;
pub mod tensorboard;
