//! `${…}`: the syntax of references, and nothing of what they mean.
//!
//! There are no expressions: a reference names one thing. `$${` is a literal `${`.

/// A text with its references found.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Template {
    /// No reference in it.
    Plain(String),
    /// Exactly one reference and nothing else: its value keeps its type.
    Whole(Reference),
    /// Text around references to scalars.
    Mixed(Vec<Part>),
}

/// A part of a text.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Part {
    Text(String),
    Reference(Reference),
}

/// What a reference names.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Reference {
    /// Boxed: it is three times as large as any other.
    Step(Box<StepReference>),
    Source(Pick),
    Model(Pick),
    Param(String),
    Each(String),
    In(String),
    Out(String),
    With(String),
    Seed,
}

/// An output of a step.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StepReference {
    /// None: the same variant as the reader's.
    pub(crate) variants: Option<VariantPick>,
    pub(crate) step: String,
    /// Which instances; empty: the only one.
    pub(crate) select: Vec<Label>,
    pub(crate) slot: String,
}

/// Which variants.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum VariantPick {
    All,
    Name(String),
}

/// Which values of an axis.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Label {
    All,
    Value(String),
    /// The value that this axis has where the reference stands.
    Each(String),
}

/// A declared thing, by its name or by the value of an axis.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Pick {
    Name(String),
    Each(String),
}

/// What is wrong with a reference, and where in the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BadReference {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) message: String,
}

/// The words with which a reference can start.
pub(crate) const HEADS: &[&str] =
    &["steps", "sources", "models", "variants", "params", "each", "in", "out", "with", "seed"];

impl Template {
    /// Finds the references in a text.
    pub(crate) fn parse(text: &str) -> Result<Self, BadReference> {
        if opening(text).is_none() {
            return Ok(Template::Plain(text.to_owned()));
        }
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut i = 0;
        while let Some(found) = opening(&text[i..]).map(|it| it + i) {
            if found > i && text.as_bytes()[found - 1] == b'$' {
                literal += &text[i..found - 1];
                literal += "${";
                i = found + 2;
                continue;
            }
            literal += &text[i..found];
            let Some(close) = text[found..].find('}').map(|it| it + found) else {
                let message = "this `${` is never closed".to_owned();
                return Err(BadReference { start: found, end: text.len(), message });
            };
            let reference = Reference::parse(&text[found + 2..close])
                .map_err(|message| BadReference { start: found, end: close + 1, message })?;
            if !literal.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut literal)));
            }
            parts.push(Part::Reference(reference));
            i = close + 1;
        }
        literal += &text[i..];
        Ok(Self::from_parts(parts, literal))
    }

    fn from_parts(mut parts: Vec<Part>, tail: String) -> Self {
        if parts.is_empty() {
            return Template::Plain(tail);
        }
        if !tail.is_empty() {
            parts.push(Part::Text(tail));
        }
        match (parts.pop(), parts.is_empty()) {
            (Some(Part::Reference(it)), true) => Template::Whole(it),
            (last, _) => {
                parts.extend(last);
                Template::Mixed(parts)
            }
        }
    }

    /// The references in it, in order.
    pub(crate) fn references(&self) -> impl Iterator<Item = &Reference> {
        let (whole, parts) = match self {
            Template::Plain(_) => (None, [].as_slice()),
            Template::Whole(it) => (Some(it), [].as_slice()),
            Template::Mixed(it) => (None, it.as_slice()),
        };
        let inner = parts.iter().filter_map(|it| match it {
            Part::Reference(it) => Some(it),
            Part::Text(_) => None,
        });
        whole.into_iter().chain(inner)
    }
}

impl Reference {
    /// Reads what stands between `${` and `}`.
    fn parse(text: &str) -> Result<Self, String> {
        let is_odd = |it: char| it.is_whitespace() || "${}()+|\\".contains(it);
        // Letter by letter only where a byte is not a plain one.
        let may_be_odd = |it: u8| !it.is_ascii_alphanumeric() && !b"._-[]*,\"".contains(&it);
        if text.bytes().any(may_be_odd)
            && let Some(it) = text.chars().find(|it| is_odd(*it))
        {
            return Err(format!("`{}` cannot stand in a reference", it.escape_debug()));
        }
        let head_end = text.find(['.', '[']).unwrap_or(text.len());
        let (head, rest) = text.split_at(head_end);
        let name = || dotted(text, rest);
        Ok(match head {
            "params" => Reference::Param(name()?),
            "with" => Reference::With(name()?),
            "each" => Reference::Each(single(text, rest)?),
            "in" => Reference::In(single(text, rest)?),
            "out" => Reference::Out(single(text, rest)?),
            "seed" if rest.is_empty() => Reference::Seed,
            "sources" => Reference::Source(pick(text, rest)?),
            "models" => Reference::Model(pick(text, rest)?),
            "steps" => Reference::Step(Box::new(step(text, rest, None)?)),
            "variants" => {
                let (variant, rest) = rest
                    .strip_prefix('.')
                    .and_then(|it| it.split_once(".steps."))
                    .ok_or_else(|| unlike(text, "variants.NAME.steps.STEP.SLOT"))?;
                let pick = match variant {
                    "*" => VariantPick::All,
                    it if is_name(it) => VariantPick::Name(it.to_owned()),
                    _ => return Err(unlike(text, "variants.NAME.steps.STEP.SLOT")),
                };
                Reference::Step(Box::new(step(text, &format!(".{rest}"), Some(pick))?))
            }
            _ => return Err(unknown_head(head)),
        })
    }
}

/// Where the first reference opens; most texts are too short for a cleverer search.
pub(crate) fn opening(text: &str) -> Option<usize> {
    text.as_bytes().windows(2).position(|it| it == b"${")
}

/// Whether a text can be the name of a step, parameter, port, slot or axis.
pub(crate) fn is_word(text: &str) -> bool {
    let fits = |it: u8| it.is_ascii_alphanumeric() || it == b'_' || it == b'-';
    !text.is_empty() && text.len() <= 128 && text.bytes().all(fits)
}

/// Whether a text can be the name of a source, model, variant or pool.
pub(crate) fn is_name(text: &str) -> bool {
    let fits = |it: u8| it.is_ascii_alphanumeric() || b"_-.".contains(&it);
    let plain = !text.starts_with('.') && !text.ends_with('.') && !text.contains("..");
    !text.is_empty() && text.len() <= 128 && plain && text.bytes().all(fits)
}

fn step(text: &str, rest: &str, variants: Option<VariantPick>) -> Result<StepReference, String> {
    let bad = || unlike(text, "steps.STEP.SLOT");
    let rest = rest.strip_prefix('.').ok_or_else(bad)?;
    let (name, select, rest) = match rest.split_once('[') {
        Some((name, rest)) => {
            let (inside, rest) = labels(rest).ok_or_else(bad)?;
            (name, inside, rest)
        }
        None => {
            let (name, _) = rest.split_once('.').ok_or_else(bad)?;
            (name, Vec::new(), &rest[name.len()..])
        }
    };
    let slot = rest.strip_prefix('.').ok_or_else(bad)?;
    if !is_word(name) || !is_word(slot) {
        return Err(bad());
    }
    Ok(StepReference { variants, step: name.to_owned(), select, slot: slot.to_owned() })
}

/// Reads `a,"b,c",each.x]`; what follows the bracket comes back too.
fn labels(text: &str) -> Option<(Vec<Label>, &str)> {
    let mut found = Vec::new();
    let mut rest = text;
    loop {
        let end = match rest.strip_prefix('"') {
            Some(it) => it.find('"')? + 2,
            None => rest.find([',', ']'])?,
        };
        let (label, after) = rest.split_at(end);
        found.push(match label {
            "" => return None,
            "*" => Label::All,
            it => match it.strip_prefix("each.") {
                Some(axis) => Label::Each(axis.to_owned()),
                None => Label::Value(it.to_owned()),
            },
        });
        match after.strip_prefix(',') {
            Some(it) => rest = it,
            None => return Some((found, after.strip_prefix(']')?)),
        }
    }
}

fn pick(text: &str, rest: &str) -> Result<Pick, String> {
    if let Some(it) = rest.strip_prefix("[each.").and_then(|it| it.strip_suffix(']')) {
        return if is_word(it) {
            Ok(Pick::Each(it.to_owned()))
        } else {
            Err(unlike(text, "each.NAME"))
        };
    }
    match rest.strip_prefix('.') {
        Some(it) if is_name(it) => Ok(Pick::Name(it.to_owned())),
        _ => Err(unlike(text, "sources.NAME` or `sources[each.NAME]")),
    }
}

fn dotted(text: &str, rest: &str) -> Result<String, String> {
    match rest.strip_prefix('.') {
        Some(it) if it.split('.').all(is_word) => Ok(it.to_owned()),
        _ => Err(unlike(text, "params.NAME")),
    }
}

fn single(text: &str, rest: &str) -> Result<String, String> {
    match rest.strip_prefix('.') {
        Some(it) if is_word(it) => Ok(it.to_owned()),
        _ => Err(unlike(text, "each.NAME")),
    }
}

fn unlike(text: &str, shape: &str) -> String {
    format!("`{text}` is not like `{shape}`")
}

fn unknown_head(head: &str) -> String {
    match crate::suggest::nearest(head, HEADS.iter().copied()) {
        Some(it) => format!("a reference cannot start with `{head}`; did you mean `{it}`?"),
        None => format!("a reference cannot start with `{head}`: `{}` can", HEADS.join("`, `")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_doubled_dollar_is_a_literal() {
        assert_eq!(Template::parse("a$${b}").unwrap(), Template::Plain("a${b}".into()));
    }

    #[test]
    fn one_reference_alone_is_whole() {
        let parsed = Template::parse("${params.a.b}").unwrap();
        assert_eq!(parsed, Template::Whole(Reference::Param("a.b".into())));
        assert!(matches!(Template::parse("x${params.a}").unwrap(), Template::Mixed(_)));
    }

    #[test]
    fn fans_and_variants_are_read() {
        let parsed = Template::parse("${variants.*.steps.s[a,\"b,c\",each.x,*].m}").unwrap();
        let Template::Whole(Reference::Step(it)) = parsed else { panic!("{parsed:?}") };
        assert_eq!(it.variants, Some(VariantPick::All));
        let value = |it: &str| Label::Value(it.to_owned());
        let each = Label::Each("x".into());
        assert_eq!(it.select, [value("a"), value("\"b,c\""), each, Label::All]);
        assert_eq!((it.step.as_str(), it.slot.as_str()), ("s", "m"));
    }

    #[test]
    fn every_bad_shape_is_said() {
        for (text, message) in [
            ("${steps.a}", "`steps.a` is not like `steps.STEP.SLOT`"),
            ("${param.a}", "a reference cannot start with `param`; did you mean `params`?"),
            ("${params.a + 1}", "` ` cannot stand in a reference"),
            ("${params.a", "this `${` is never closed"),
            ("${sources}", "`sources` is not like `sources.NAME` or `sources[each.NAME]`"),
        ] {
            assert_eq!(Template::parse(text).unwrap_err().message, message);
        }
    }
}
