//! `study`: what people are to be asked, as a file: records to rate, or answers of models to compare.
//!
//! ```toml
//! [steps.comparison]
//! op   = "study"
//! in   = { data = ["${steps.answers_a.data}", "${steps.answers_b.data}"] }
//! with = { names = ["a", "b"], form = "pairwise-ties", annotators = ["ana", "bo", "chen"] }
//! ```
//!
//! The file is what `kun annotate --from` makes: the form, who is asked, and the items. To have people
//! answer it, copy it to a place of its own and serve it there, `kun annotate votes/comparison.jsonl`; the kind
//! `annotations` reads that copy. Where all votes come from elsewhere, `annotations` and `judge_pairs` read this
//! output as it is.
//!
//! `names` are the sources, or the models, in the order of `data`. Without them each record says in its field
//! `source` where it comes from; answers to compare must have names. `form` is `quality`, `pairwise` or
//! `pairwise-ties`; the port `form` takes any other, as a file in TOML.

use annotate::{Draft, Form as Sheet, Source};
use plan::KindSpec;
use plan::kind::{Arity, Form, Port, Slot};
use schemars::JsonSchema;
use serde::Deserialize;

use super::annotations::step_error;
use crate::page::page;
use crate::{Cx, Kind, StepError, params_of};

pub(crate) struct Study;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Params {
    /// What each input is called: the source, or the model.
    #[serde(default)]
    names: Vec<String>,
    /// A form that comes with the program; nothing: the port `form`, or else `quality`.
    form: Option<String>,
    /// Who is asked.
    annotators: Vec<String>,
    /// How many of them are asked about each item; nothing: 3, or all where there are fewer.
    raters: Option<usize>,
    /// The share of items that each is shown a second time.
    #[serde(default = "default_repeats")]
    #[schemars(range(min = 0.0, max = 0.3))]
    repeats: f64,
    /// Who is asked about what the others do not agree on.
    adjudicator: Option<String>,
}

fn default_repeats() -> f64 {
    0.05
}

impl Kind for Study {
    const SPEC: KindSpec = KindSpec {
        name: "study",
        version: 1,
        about: "what people are to be asked: records to rate, answers to compare",
        page: page!("study.rs"),
        inputs: &[
            Port { name: "data", arity: Arity::Many, about: "records, a file for each name" },
            Port { name: "form", arity: Arity::Optional, about: "what is asked, in TOML" },
        ],
        outputs: &[Slot { name: "study", form: Form::File, about: "for `kun annotate`" }],
        draws: true,
        params: params_of::<Params>,
        ..KindSpec::PLAIN
    };
    type Params = Params;

    fn run(&self, params: &Params, cx: &mut Cx<'_>) -> Result<(), StepError> {
        let wrong = |reason: String| StepError::Params { kind: "study", reason };
        let (data, form) = (cx.inputs("data"), form(params, cx)?);
        let (n, m) = (params.names.len(), data.len());
        if n != m && (n > 0 || form.compares()) {
            return Err(wrong(format!("`names` has {n} names for {m} inputs")));
        }
        let names = params.names.iter().cloned().chain(std::iter::repeat(String::new()));
        let sources = names.zip(data).map(|(name, path)| Source { name, path: path.clone() });
        let mut draft = Draft::new(form, sources.collect(), params.annotators.clone());
        draft.head.raters = params.raters.unwrap_or(draft.head.raters);
        (draft.head.repeats, draft.head.seed) = (params.repeats, cx.seed()?);
        draft.head.adjudicator = params.adjudicator.clone();
        let path = cx.output("study")?.to_owned();
        let study = annotate::create(&path, &draft).map_err(|it| match it {
            annotate::AnnotateError::Study(reason) => wrong(reason),
            it => step_error(it, &path),
        })?;
        cx.count("items", study.items.len() as u64);
        cx.count("units", study.units.len() as u64);
        Ok(())
    }
}

fn form(params: &Params, cx: &Cx<'_>) -> Result<Sheet, StepError> {
    let wrong = |reason: String| StepError::Params { kind: "study", reason };
    match (cx.inputs("form").first(), &params.form) {
        (Some(_), Some(_)) => Err(wrong("`form` is a parameter and an input".to_owned())),
        (Some(path), None) => {
            let text = std::fs::read_to_string(path).map_err(StepError::io(path))?;
            let form = Sheet::parse("form", &text);
            form.map_err(|it| step_error(it, path))
        }
        (None, name) => {
            let name = name.as_deref().unwrap_or("quality");
            let all: Vec<&str> = Sheet::names().collect();
            let none = || wrong(format!("no form `{name}`; there are {}", all.join(", ")));
            Sheet::built_in(name).ok_or_else(none)
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::kit::Kit;

    const A: &[u8] = b"{\"instruction\":\"x\",\"output\":\"1\"}\n";
    const B: &[u8] = b"{\"instruction\":\"x\",\"output\":\"2\"}\n";

    fn kit() -> Kit {
        let mut kit = Kit::new("study");
        kit.seed = Some(7);
        kit
    }

    #[test]
    fn a_study_is_made_of_records_and_always_the_same() {
        let with = "names = ['a', 'b']\nform = 'pairwise'\nannotators = ['ana']";
        let mut kit = kit();
        let once = kit.run(with, &[A, B]).unwrap();
        assert_eq!((kit.count("items"), kit.count("units")), (Some(1), Some(1)));
        std::fs::remove_file(kit.folder.path().join("study")).unwrap();
        assert_eq!(kit.run(with, &[A, B]).unwrap(), once);
        let seats = annotate::Journal::seen(&kit.folder.path().join("study")).unwrap();
        assert_eq!((seats.study.head.raters, seats.study.head.seed), (1, 7));
    }

    #[test]
    fn without_names_records_say_where_they_come_from() {
        let mut kit = kit();
        let with = "annotators = ['x']";
        let own = b"{\"instruction\":\"x\",\"output\":\"1\",\"source\":\"wudao\"}\n";
        assert!(kit.run(with, &[own]).unwrap()[0].contains("\"source\":\"wudao\""));
        let error = kit.run(with, &[A]).unwrap_err().to_string();
        assert!(error.ends_with(":1: field `source`: is no text"), "{error}");
    }

    #[test]
    fn a_form_is_a_file_or_a_name() {
        let mut kit = kit();
        let file = |name: &str, text: &[u8]| {
            let path = kit.folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let form = b"shown = [{ field = 'output' }]\n[[questions]]\nid = 'q'\n\
            choices = [{ id = 'a' }, { id = 'b' }]\n";
        let inputs = [("data", vec![file("d", A)]), ("form", vec![file("f.toml", form)])];
        let with = "names = ['a']\nannotators = ['x', 'y']";
        assert!(kit.run_at(with, &inputs).unwrap()[0].contains("\"shown\":[\"1\"]"));
        let both = format!("{with}\nform = 'quality'");
        let error = kit.run_at(&both, &inputs).unwrap_err();
        insta::assert_snapshot!(error, @"parameters of `study`: `form` is a parameter and an input");
    }

    #[test]
    fn what_makes_no_study_is_refused() {
        let mut kit = kit();
        let mut error = |with: &str| kit.run(with, &[A]).unwrap_err().to_string();
        insta::assert_snapshot!(error("form = 'pairwise'\nannotators = ['x']"), @"parameters of `study`: `names` has 0 names for 1 inputs");
        insta::assert_snapshot!(error("names = ['a']\nannotators = ['x']\nform = 'f'"), @"parameters of `study`: no form `f`; there are quality, pairwise, pairwise-ties");
        insta::assert_snapshot!(error("names = ['a']\nannotators = ['x']\nform = 'pairwise'"), @"parameters of `study`: a comparison needs two models or more");
        insta::assert_snapshot!(error("names = ['a']\nannotators = []"), @"parameters of `study`: each item needs 0 people, and there are 0");
    }
}
