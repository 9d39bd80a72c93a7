//! Jinja, rendered where it can do no harm.
//!
//! A chat template comes with a model and is a program of somebody else's. Fuel bounds its steps,
//! but one step may double a string, so fuel says nothing about memory. The binary therefore
//! compiles and renders foreign templates in a process of its own ([`serve`]) that the kernel
//! bounds in memory and in processor time: that holds for every operator, filter and method there
//! is, whatever it allocates. Templates that are built in, and programs that use this crate without
//! [`render_apart`], render in their own process and have the fuel alone.

mod codec;
mod jinja;
mod process;
mod serve;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

pub use process::{Program, render_apart};
pub use serve::serve;

use jinja::Compiled;
use process::Sandbox;

/// What the name of an undefined variable is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Undefined {
    /// Nothing is written for it, as in `transformers`.
    Lenient,
    /// It is an error.
    Strict,
}

/// The variables of a template, by name.
pub(super) type Context<'a> = BTreeMap<&'a str, &'a Json>;

/// Why a template cannot be compiled or rendered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RenderError {
    /// In a sentence, with its line where there is one.
    pub(super) reason: String,
    /// The line of the template, from 1.
    pub(super) line: Option<usize>,
    /// Whether something was used that is not defined.
    pub(super) undefined: bool,
}

impl RenderError {
    fn of_process(reason: String) -> Self {
        Self { reason, line: None, undefined: false }
    }
}

/// A compiled template.
pub(super) enum Renderer {
    /// In this process.
    Here(Box<Compiled>),
    /// In a bounded process.
    Apart(Sandbox),
}

impl Renderer {
    /// Compiles a template of ours, which needs no bounds.
    pub(super) fn trusted(source: &str) -> Result<Self, RenderError> {
        Compiled::new(source, Undefined::Lenient).map(|it| Self::Here(Box::new(it)))
    }

    /// Compiles a template of somebody else's.
    pub(super) fn foreign(source: &str, undefined: Undefined) -> Result<Self, RenderError> {
        match Sandbox::new(source, undefined)? {
            Some(sandbox) => Ok(Self::Apart(sandbox)),
            None => Compiled::new(source, undefined).map(|it| Self::Here(Box::new(it))),
        }
    }

    /// The names that it uses and does not define, without those that are built in.
    pub(super) fn undeclared(&self) -> &BTreeSet<String> {
        match self {
            Self::Here(compiled) => compiled.undeclared(),
            Self::Apart(sandbox) => sandbox.undeclared(),
        }
    }

    /// Renders with these variables at most `limit` bytes.
    pub(super) fn render(
        &self,
        context: &Context<'_>,
        limit: usize,
    ) -> Result<String, RenderError> {
        match self {
            Self::Here(compiled) => compiled.render(context, limit),
            Self::Apart(sandbox) => sandbox.render(context, limit),
        }
    }
}
