//! `classify`: which of several labels a model gives each record.
//!
//! ```toml
//! [steps.subjects]
//! op   = "classify"
//! in   = { model = "models/chat", data = "${steps.final.data}", prompt = "${sources.subject_prompt}" }
//! with = { labels = ["医学", "法学", "工学", "文学"], most = 2, min_p = 0.3, into = "subject" }
//! ```
//!
//! Labels are weighed as `judge` weighs choices: by how probable each is as the whole answer to the question. For
//! `into = "subject"` a record gets `subject`, a list of at most `most` labels with at least the
//! probability `min_p`, the likeliest first, and `subject_p`, the probability of each label, of all
//! labels. No record is left out. Each is asked about once, as with `judge`.

use plan::KindSpec;
use plan::kind::{Arity, Form, Port, Slot};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::asking::{OnOverlong, prompt_of};
use crate::choosing::{Choosing, End, choose_all};
use crate::model::Prompt;
use crate::model::record::Columns;
use crate::page::page;
use crate::preview::{self, At, Preview};
use crate::records::Output;
use crate::{Cx, Kind, StepError, params_of};

pub(crate) struct Classify;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Params {
    /// The labels, as the model would answer them.
    labels: Vec<String>,
    /// How many labels a record gets at most.
    #[serde(default = "default_most")]
    #[schemars(range(min = 1))]
    most: usize,
    /// The least probability of a label that is given.
    #[serde(default)]
    min_p: f64,
    /// The name of a built-in chat template; nothing: the model's own.
    template: Option<String>,
    /// What the data calls the fields, by our names.
    #[serde(default)]
    columns: Columns,
    /// The field for the labels, and the first part of the name of the other.
    #[serde(default = "default_into")]
    into: String,
    /// The longest question and answer together; nothing: what the model was made for.
    #[schemars(range(min = 2))]
    max_seq_len: Option<usize>,
    /// What becomes of a longer one.
    #[serde(default)]
    on_overlong: OnOverlong,
}

fn default_most() -> usize {
    1
}

fn default_into() -> String {
    "labels".to_owned()
}

impl Kind for Classify {
    const SPEC: KindSpec = KindSpec {
        name: "classify",
        version: 1,
        about: "let a model give each record one or more of several labels",
        page: page!("classify.rs"),
        inputs: &[
            Port { name: "model", arity: Arity::Model, about: "the model" },
            Port { name: "data", arity: Arity::One, about: "the records" },
            Port { name: "prompt", arity: Arity::Optional, about: "the prompt file" },
            Port { name: "template", arity: Arity::Optional, about: "a chat template, as a file" },
        ],
        outputs: &[Slot {
            name: "data",
            form: Form::Records,
            about: "the records with their labels, in order",
        }],
        cuts: &["most", "min_p"],
        numerics: true,
        shards: Some("data"),
        params: params_of::<Params>,
        ..KindSpec::PLAIN
    };
    type Params = Params;

    fn preview(&self, params: &Params, at: At<'_>) -> Result<Option<Preview>, StepError> {
        preview::chosen(&choosing(params, at.prompt()?), at)
    }

    fn run(&self, params: &Params, cx: &mut Cx<'_>) -> Result<(), StepError> {
        let choosing = choosing(params, prompt_of(cx)?);
        let mut output = Output::create(cx.output("data")?)?;
        let mut none = 0;
        let mut take = |it: crate::choosing::Found<'_>| {
            let shares = it.weighed.shares();
            let ranked = it.weighed.ranked().into_iter().filter(|it| shares[*it] >= params.min_p);
            let given = ranked.take(params.most).map(|it| params.labels[it].as_str());
            let given: Vec<Value> = given.map(Value::from).collect();
            none += u64::from(given.is_empty());
            let labels = params.labels.iter().cloned();
            let p: Map<String, Value> = labels.zip(shares.iter().map(|it| (*it).into())).collect();
            let mut map = it.map;
            map.insert(params.into.clone(), given.into());
            map.insert(format!("{}_p", params.into), p.into());
            let line = serde_json::to_vec(&map).expect("texts and finite numbers are always JSON");
            output.line(&line)
        };
        choose_all(&choosing, &mut take, cx)?;
        output.finish()?;
        cx.count("without", none);
        Ok(())
    }
}

fn choosing(params: &Params, prompt: Option<Prompt>) -> Choosing<'_> {
    Choosing {
        kind: "classify",
        prompt,
        choices: &params.labels,
        end: End::Counts,
        template: params.template.as_deref(),
        columns: &params.columns,
        into: &params.into,
        max_seq_len: params.max_seq_len,
        on_overlong: params.on_overlong,
        writes: None,
    }
}
