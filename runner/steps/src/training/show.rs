//! What a model that is trained answers on its way: the same few questions at each measurement.

use std::sync::Arc;

use kernels::AnyDevice;
use kernels::decoder::{Config, WeightDtype};
use kernels::generate::{Flow, Generator, Model, Request, Settings};
use kernels::train::{Data, Samples, Trainer};
use serde_json::json;

use crate::StepError;
use crate::model::{Controlled, Tokenizer};

/// The longest answer that is shown, in tokens.
const MOST_NEW: usize = 256;

/// How answers are shown.
pub(crate) struct Manner<'a> {
    /// How many.
    pub(crate) n: usize,
    pub(crate) tokenizer: &'a Tokenizer,
    /// What ends an answer.
    pub(crate) stop_ids: Vec<u32>,
}

/// The questions, and how they are asked.
pub(crate) struct Show<'a> {
    manner: Manner<'a>,
    questions: Vec<Question>,
    context: usize,
}

struct Question {
    prompt: Vec<u32>,
    want: String,
}

impl<'a> Show<'a> {
    /// Questions of the samples that are only measured; where there are none, of those that are learnt.
    pub(crate) fn new(manner: Manner<'a>, data: &Data, context: usize) -> Result<Self, StepError> {
        let samples = if data.eval.is_empty() { &data.train } else { &data.eval };
        let mut questions = Vec::new();
        for i in 0..samples.len() {
            if questions.len() < manner.n {
                questions.extend(question(samples, i, &manner)?);
            }
        }
        Ok(Self { manner, questions, context })
    }

    /// What the model answers now: a line for the log for each question.
    pub(crate) fn lines(
        &self,
        device: &Arc<AnyDevice>,
        (config, dtype): (&Config, WeightDtype),
        trainer: &Trainer<'_, AnyDevice>,
    ) -> Result<Vec<String>, StepError> {
        if self.questions.is_empty() {
            return Ok(Vec::new());
        }
        let weights = trainer.weights();
        let model = Model::of(Arc::clone(device), (config, dtype), &weights, self.context)?;
        let rows = self.questions.len();
        let cache_tokens = rows * (self.context + 64);
        let settings = Settings { rows, cache_tokens, ..Settings::default() };
        let mut generator = Generator::new(Arc::new(model), settings)?;
        let request = |(row, it): (usize, &Question)| Request {
            stop_ids: self.manner.stop_ids.clone(),
            ..Request::greedy(row as u64, it.prompt.clone(), MOST_NEW)
        };
        let requests = self.questions.iter().enumerate().map(request);
        let outputs = generator.run(requests, &mut |_| Flow::Continue)?;
        let step = trainer.done();
        let line = |(it, output): (&Question, &kernels::generate::Output)| {
            let (prompt, text) = (self.text(&it.prompt)?, self.text(&output.ids)?);
            Ok(json!({ "step": step, "prompt": prompt, "want": it.want, "text": text }).to_string())
        };
        self.questions.iter().zip(&outputs).map(line).collect()
    }

    fn text(&self, ids: &[u32]) -> Result<String, StepError> {
        Ok(self.manner.tokenizer.decode(ids, Controlled::Hidden)?)
    }
}

/// What stands before the first answer of a sample, and that answer.
fn question(
    samples: &Samples,
    i: usize,
    manner: &Manner<'_>,
) -> Result<Option<Question>, StepError> {
    let (ids, trained) = (samples.ids(i), samples.trained(i));
    let Some(start) = (1..ids.len()).find(|it| trained[*it]) else { return Ok(None) };
    let end = (start..ids.len()).find(|it| !trained[*it]).unwrap_or(ids.len());
    let want = manner.tokenizer.decode(&ids[start..end], Controlled::Hidden)?;
    Ok(Some(Question { prompt: ids[..start].to_vec(), want }))
}
