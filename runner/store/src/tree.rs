//! The listing of a tree.
