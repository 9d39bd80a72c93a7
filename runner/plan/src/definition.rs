//! The definition of an instance as bytes: two instances with equal bytes are the same work.
//!
//! Not a key: it names inputs by number, lives as long as one graph, and is never stored.

use crate::graph::{Input, Instance, Piece, Program, Surroundings, Work};
use crate::kind::Numerics;

/// Writes what an instance is, but for its names and how it is run.
pub(crate) fn write(instance: &Instance, out: &mut Vec<u8>) {
    match &instance.work {
        Work::Kind { name, version, numerics, .. } => {
            out.push(b'k');
            text(name, out);
            out.extend(version.to_le_bytes());
            out.push(u8::from(*numerics == Some(Numerics::Bf16)));
        }
        Work::Program(it) => {
            out.push(b'p');
            program(it, out);
        }
    }
    around(&instance.around, out);
    number(instance.with.len(), out);
    for (name, value) in &instance.with {
        text(name, out);
        text(&value.to_string(), out);
    }
    number(instance.inputs.len(), out);
    for (port, inputs) in &instance.inputs {
        text(port, out);
        number(inputs.len(), out);
        for it in inputs {
            input(it, out);
        }
    }
    number(instance.outputs.len(), out);
    for (slot, output) in &*instance.outputs {
        text(slot, out);
        text(output.form.word(), out);
        text(&output.file, out);
    }
    out.push(u8::from(instance.seed.is_some()));
    out.extend(instance.seed.unwrap_or_default().to_le_bytes());
}

fn program(program: &Program, out: &mut Vec<u8>) {
    out.push(u8::from(program.shell));
    number(program.argv.len(), out);
    for argument in &program.argv {
        number(argument.0.len(), out);
        for piece in &argument.0 {
            let (tag, it) = match piece {
                Piece::Text(it) => (b't', it),
                Piece::Input(it) => (b'i', it),
                Piece::Output(it) => (b'o', it),
                Piece::Variable { name, value } => {
                    text(value, out);
                    (b'v', name)
                }
            };
            out.push(tag);
            text(it, out);
        }
    }
}

fn around(around: &Surroundings, out: &mut Vec<u8>) {
    number(around.code.len(), out);
    for (name, source) in &around.code {
        text(name, out);
        number(*source, out);
    }
    number(around.pass.len(), out);
    for it in &around.pass {
        text(it, out);
    }
    number(around.set.len(), out);
    for (name, value) in &around.set {
        text(name, out);
        text(value, out);
    }
}

fn input(input: &Input, out: &mut Vec<u8>) {
    match input {
        Input::Output { instance, slot } => {
            out.push(b'o');
            number(instance.0, out);
            text(slot, out);
        }
        Input::Source(it) => {
            out.push(b's');
            number(*it, out);
        }
    }
}

fn text(text: &str, out: &mut Vec<u8>) {
    number(text.len(), out);
    out.extend(text.as_bytes());
}

fn number(number: usize, out: &mut Vec<u8>) {
    out.extend((number as u64).to_le_bytes());
}
