//! Makes the program of an instance, and what a program finds around itself: code files and
//! environment.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::graph::{Argument, Piece, Program, Surroundings};
use crate::instance::Maker;
use crate::load::bad_path;
use crate::mistake::Mistake;
use crate::model::Task;
use crate::path::{Reach, resolve};
use crate::reference::{Part, Reference, Template};
use crate::scope::{Scope, scalar};
use crate::text::At;
use crate::value::Value;

impl Maker<'_> {
    /// The program of a step that runs one.
    pub(crate) fn program(&mut self, scope: &Scope<'_>) -> Option<Program> {
        let Task::Program { argv, shell, .. } = &scope.step.work else { return None };
        let mut arguments = Vec::with_capacity(argv.len());
        for (template, at) in argv {
            let made = match shell {
                true => shell_line(template, scope).map(|it| arguments.push(it)),
                false => argument(template, scope, &mut arguments),
            };
            if let Err(mistake) = made {
                let mistake = mistake.at(&self.flow.project.texts, *at, "");
                let mistake = scope.blame(mistake, template, &self.flow.project.texts);
                self.found.push(mistake);
                return None;
            }
        }
        Some(Program { argv: arguments, shell: *shell })
    }

    /// The code files and the environment of a step that runs a program.
    pub(crate) fn around(&mut self, scope: &Scope<'_>) -> Option<Arc<Surroundings>> {
        let (code, env) = (&scope.step.code, &scope.step.env);
        let mut around = Surroundings { pass: env.pass.clone(), ..Surroundings::default() };
        let mut good = true;
        for (pattern, at) in code {
            good &= self.code_files(pattern, *at, &mut around.code).is_some();
        }
        for (name, (template, at)) in &env.set {
            let text = scope.text(template);
            match self.good(text, *at) {
                Some(it) => drop(around.set.insert(name.clone(), it)),
                None => good = false,
            }
        }
        if !good {
            return None;
        }
        if *self.around != around {
            self.around = Arc::new(around);
        }
        Some(Arc::clone(&self.around))
    }

    fn code_files(
        &mut self,
        pattern: &str,
        at: At,
        files: &mut BTreeMap<String, usize>,
    ) -> Option<()> {
        let resolved = resolve(self.flow.project.dir(at), pattern, Reach::Inside);
        let path = self.good(resolved.map_err(|it| bad_path(it, pattern)), at)?;
        self.good(not_ours(&path), at)?;
        let found = match self.code.find(&path) {
            Ok(it) => it,
            Err(error) => {
                let message = format!("cannot look for `{}`: {error}", pattern.escape_debug());
                return self.good(Err(Mistake::new("manifest::unreadable", message)), at);
            }
        };
        if found.is_empty() {
            let message = format!("no file is like `{}`", pattern.escape_debug());
            return self.good(Err(Mistake::new("manifest::no-files", message)), at);
        }
        for it in found.iter() {
            self.good(not_ours(it), at)?;
            let name = slashed(it);
            let id = self.source(None, it.clone(), None, at);
            files.insert(name, id);
        }
        Some(())
    }
}

/// Names in a step's folder that are taken.
const OURS: [&str; 4] = ["in", "out", "owner", "job.json"];

/// A code file stands in the step's folder where it stands in the project: not in place of what
/// else stands there.
fn not_ours(path: &Path) -> Result<(), Mistake> {
    let first = path.iter().next().unwrap_or_default();
    let Some(name) = OURS.iter().find(|it| first == **it) else { return Ok(()) };
    let shown = path.display().to_string();
    let message = format!("`{}` cannot be a code file", shown.escape_debug());
    let help = format!("`{name}` in a step's folder is the step's own; give it another folder");
    Err(Mistake::new("manifest::bad-path", message).help(help))
}

fn slashed(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// One element of an argument vector; a list becomes several.
fn argument(
    template: &Template,
    scope: &Scope<'_>,
    out: &mut Vec<Argument>,
) -> Result<(), Mistake> {
    match template {
        Template::Plain(it) => out.push(Argument(vec![Piece::Text(it.clone())])),
        Template::Whole(Reference::In(it)) => out.push(Argument(vec![Piece::Input(it.clone())])),
        Template::Whole(Reference::Out(it)) => out.push(Argument(vec![Piece::Output(it.clone())])),
        Template::Whole(it) => match scope.known(it)? {
            Value::List(items) => {
                for it in &items {
                    out.push(Argument(vec![Piece::Text(scalar(it)?)]));
                }
            }
            it => out.push(Argument(vec![Piece::Text(scalar(&it)?)])),
        },
        Template::Mixed(parts) => {
            let mut pieces = Vec::with_capacity(parts.len());
            for part in parts {
                let text = match part {
                    Part::Reference(Reference::In(it)) => {
                        pieces.push(Piece::Input(it.clone()));
                        continue;
                    }
                    Part::Reference(Reference::Out(it)) => {
                        pieces.push(Piece::Output(it.clone()));
                        continue;
                    }
                    Part::Text(it) => it.clone(),
                    Part::Reference(it) => scalar(&scope.known(it)?)?,
                };
                match pieces.last_mut() {
                    Some(Piece::Text(last)) => *last += &text,
                    _ => pieces.push(Piece::Text(text)),
                }
            }
            out.push(Argument(pieces));
        }
    }
    Ok(())
}

/// A shell line: values are handed over as variables, never pasted in.
fn shell_line(template: &Template, scope: &Scope<'_>) -> Result<Argument, Mistake> {
    let piece = |it: &Reference| -> Result<Piece, Mistake> {
        Ok(match it {
            Reference::In(it) => Piece::Input(it.clone()),
            Reference::Out(it) => Piece::Output(it.clone()),
            it => Piece::Variable { name: variable(it), value: scalar(&scope.known(it)?)? },
        })
    };
    let pieces = match template {
        Template::Plain(it) => vec![Piece::Text(it.clone())],
        Template::Whole(it) => vec![piece(it)?],
        Template::Mixed(parts) => {
            let part = |it: &Part| match it {
                Part::Text(it) => Ok(Piece::Text(it.clone())),
                Part::Reference(it) => piece(it),
            };
            parts.iter().map(part).collect::<Result<_, _>>()?
        }
    };
    Ok(Argument(pieces))
}

fn variable(reference: &Reference) -> String {
    let name = match reference {
        Reference::With(it) => format!("with_{it}"),
        Reference::Param(it) => format!("params_{it}"),
        Reference::Each(it) => format!("each_{it}"),
        _ => "seed".to_owned(),
    };
    name.replace(['.', '-'], "_")
}
