//! `pretrain`: trains a model on texts, to write what follows.
//!
//! ```toml
//! [steps.base]
//! op   = "pretrain"
//! in   = { model = "${steps.fresh.model}", data = ["${steps.corpus.data}"] }
//! with = { learning_rate = 3e-4, max_steps = 2_000, batch_size = 16, max_seq_len = 256,
//!          warmup_ratio = 0.03 }
//! ```
//!
//! A record's `text` (`columns = { text = "content" }` gives another name) is encoded as it stands,
//! with the token before it that the model's folder asks for, and with the end-of-text token behind
//! it, so that the model learns to end. Texts in a record never become control tokens. Every token is
//! trained on.
//!
//! A text that is longer than `max_seq_len` is split into samples of that length; `on_overlong` can
//! cut it, leave it out or refuse it instead. Short samples share rows of `max_seq_len` tokens
//! (`packing`) and never see each other.
//!
//! Records without a token go to `dropped`. Checkpoints, `log` and the rest are as in `sft`.

use kernels::decoder::Save;
use plan::KindSpec;
use plan::kind::{Arity, Port};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kinds::sft::OUTPUTS;
use crate::model::{self, ModelFolder, Sample, Template};
use crate::page::page;
use crate::records::Progress;
use crate::texts::{Texts, check_columns};
use crate::training::{self, Dropped, Gathered, Job, Settled, training_params};
use crate::{Cx, Kind, Say, StepError, params_of};

pub(crate) struct Pretrain;

training_params!("pretrain" {
    /// What becomes of a text that is longer than `max_seq_len`.
    #[serde(default)]
    on_overlong: OnOverlong,
});

/// What becomes of a text that is too long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OnOverlong {
    /// It becomes several samples.
    #[default]
    Split,
    /// Its end is cut off.
    Truncate,
    /// It is left out.
    Drop,
    /// The step fails and names it.
    Error,
}

impl Kind for Pretrain {
    const SPEC: KindSpec = KindSpec {
        name: "pretrain",
        version: 1,
        about: "train a model on texts, to write what follows",
        page: page!("pretrain.rs"),
        inputs: &[
            Port { name: "model", arity: Arity::One, about: "the model to begin with" },
            Port { name: "data", arity: Arity::Many, about: "the texts" },
        ],
        outputs: OUTPUTS,
        unkeyed: &["save_steps", "gradient_checkpointing", "micro_batch_tokens"],
        draws: true,
        numerics: true,
        params: params_of::<Params>,
        ..KindSpec::PLAIN
    };
    type Params = Params;

    fn run(&self, params: &Params, cx: &mut Cx<'_>) -> Result<(), StepError> {
        check_columns("pretrain", &params.columns)?;
        let folder = ModelFolder::open(cx.input("model")?)?;
        let seed = cx.seed()?;
        let settled = params.common().settle(&folder.config, seed)?;
        let mut dropped = Dropped::create(cx.output("dropped")?)?;
        let gathered = gather(params, &settled, &folder.tokenizer, &mut dropped, cx)?;
        let (n, left_out) = (gathered.samples.len() as u64, dropped.total());
        let tokens: usize = gathered.samples.iter().map(|it| it.ids.len()).sum();
        let (truncated, left_out_as) = (gathered.truncated, dropped.told());
        (cx.report)(Say::Note(format!(
            "{n} samples, {tokens} tokens; {truncated} texts cut, {left_out_as}"
        )));
        cx.count("samples", n);
        cx.count("tokens", tokens as u64);
        cx.count("truncated", truncated);
        cx.count("dropped", left_out);
        dropped.finish()?;
        let data = training::split(gathered, settled.val_size, seed);
        let mut save = Save::new(settled.dtype);
        let template = Template::of_folder(&folder.path)?;
        save.files = model::text_files(&folder.path, template.as_ref())?;
        let weights = folder.weights()?;
        let job =
            Job { settled, config: &folder.config, weights: &weights, data, save, shown: None };
        training::run(job, cx)
    }
}

fn gather(
    params: &Params,
    settled: &Settled,
    tokenizer: &model::Tokenizer,
    dropped: &mut Dropped,
    cx: &mut Cx<'_>,
) -> Result<Gathered, StepError> {
    let mut gathered = Gathered::default();
    let mut progress = Progress::new("records", None);
    let most = settled.max_seq_len;
    for path in cx.inputs("data").to_vec() {
        let mut texts = Texts::open(&path, &params.columns)?;
        while let Some((text, map)) =
            texts.next(|it| Ok((it.text()?.to_owned(), it.map.clone())))?
        {
            cx.check_stop()?;
            progress.did(1, cx);
            let mut ids = tokenizer.encode_document(&text)?;
            if ids.is_empty() {
                dropped.note(("empty", "has no tokens".to_owned()), &map)?;
                continue;
            }
            ids.extend(tokenizer.named().eos);
            if ids.len() > most {
                let reason = format!("has {} tokens; `max_seq_len` is {most}", ids.len());
                match params.on_overlong {
                    OnOverlong::Split => {}
                    OnOverlong::Truncate => {
                        ids.truncate(most);
                        gathered.truncated += 1;
                    }
                    OnOverlong::Drop => {
                        dropped.note(("overlong", reason), &map)?;
                        continue;
                    }
                    OnOverlong::Error => return Err(texts.mistake(None, reason)),
                }
            }
            for part in ids.chunks(most) {
                let trained = vec![true; part.len()];
                gathered.push(Sample { ids: part.to_vec(), trained }, texts.bytes());
            }
        }
    }
    progress.say(cx);
    Ok(gathered)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::sft::tests::{losses, trained};

    const TEXTS: &str = "{\"text\":\"The river rose. The river fell.\"}\n{\"text\":\"\"}\n\
        {\"text\":\"今天下雨，河水涨得很快。今天下雨，河水涨得很快。\"}\n";
    const WITH: &str = "learning_rate = 0.01\nmax_steps = 12\nbatch_size = 2\nmax_seq_len = 12\n\
                        lr_scheduler = 'constant'";

    #[test]
    fn a_model_learns_its_texts_and_the_folder_says_so() {
        let (mut kit, out) = trained("pretrain", WITH, TEXTS).unwrap();
        let losses = losses(&out[1]);
        assert_eq!(losses.len(), 12);
        assert!(losses[11] < losses[0] - 0.3, "{losses:?}");
        assert_eq!((kit.count("dropped"), kit.count("steps")), (Some(1), Some(12)));
        assert!(
            out[3].starts_with("{\"class\":\"empty\",\"reason\":\"has no tokens\""),
            "{}",
            out[3]
        );
        let folder = ModelFolder::open(&kit.folder.path().join("model")).unwrap();
        assert!(folder.weights().is_ok());
        kit.said.clear();
    }

    #[test]
    fn long_texts_are_split_cut_left_out_or_refused() {
        let samples = |how: &str| {
            let with = format!("{WITH}\non_overlong = '{how}'").replace("12\n", "2\n");
            let (kit, _) =
                trained("pretrain", &with.replace("len = 2", "len = 12"), TEXTS).unwrap();
            (
                kit.count("samples").unwrap(),
                kit.count("truncated").unwrap(),
                kit.count("dropped").unwrap(),
            )
        };
        let (split, cut, _) = samples("split");
        assert!(split > 2 && cut == 0, "{split}");
        let (left, cut, _) = samples("truncate");
        assert_eq!(left, 2);
        assert!(cut > 0);
        let error = trained("pretrain", &format!("{WITH}\non_overlong = 'error'"), TEXTS);
        let error = error.err().unwrap().to_string();
        assert!(
            error.contains("records:1: has ") && error.ends_with("`max_seq_len` is 12"),
            "{error}"
        );
    }
}
