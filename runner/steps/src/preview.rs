//! What a kind would ask a model about one record, or would train of it: for people who want to read
//! it before anything is computed. No weights are read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use plan::Digest;
use serde::Serialize;

use crate::StepError;
use crate::asking::{Asking, Subject, check_names, question};
use crate::choosing::{Choosing, choices};
use crate::model::{self, Ask, Chat, Conversation, ModelFolder, Prompt, Sample, TokenView, view};
use crate::texts::Texts;

/// Which record is looked at, and what the kind reads.
#[derive(Clone, Copy, Debug)]
pub struct At<'a> {
    /// Port to files and folders.
    pub inputs: &'a BTreeMap<String, Vec<PathBuf>>,
    /// The seed, where the kind draws.
    pub seed: Option<u64>,
    /// The record, from 1.
    pub record: u64,
}

/// A record as the model sees it.
#[derive(Clone, Debug, Serialize)]
pub struct Preview {
    /// The name of the prompt file and its digest, where there is one.
    pub prompt: Option<(String, Digest)>,
    /// The chat template.
    pub template: String,
    /// The text, control tokens visible.
    pub text: String,
    /// Its tokens.
    pub tokens: Vec<TokenView>,
    /// How many tokens there is room for.
    pub room: usize,
    /// The texts among which the model chooses, with how many tokens each has.
    pub choices: Vec<(String, usize)>,
    /// What becomes of it otherwise: it is cut, or left out.
    pub note: Option<String>,
}

impl At<'_> {
    /// The only input of a port.
    pub(crate) fn input(&self, port: &'static str) -> Result<&Path, StepError> {
        match self.inputs.get(port).map(Vec::as_slice) {
            Some([it]) => Ok(it),
            _ => Err(StepError::Wiring { what: "input", name: port }),
        }
    }

    /// The seed of a kind that draws.
    pub(crate) fn seed(&self) -> Result<u64, StepError> {
        self.seed.ok_or(StepError::Wiring { what: "seed", name: "seed" })
    }

    /// The chat template that is given as a file, if one is.
    pub(crate) fn template(&self) -> Option<&Path> {
        self.inputs.get("template").and_then(|it| it.first()).map(PathBuf::as_path)
    }

    /// The prompt file, if there is one.
    pub(crate) fn prompt(&self) -> Result<Option<Prompt>, StepError> {
        let path = self.inputs.get("prompt").and_then(|it| it.first());
        Ok(path.map(|it| Prompt::open(it)).transpose()?)
    }
}

/// What a kind that asks would ask; nothing where there is no such record.
pub(crate) fn asked(asking: &Asking<'_>, at: At<'_>) -> Result<Option<Preview>, StepError> {
    let settings = &asking.settings;
    check_names(settings.kind, settings.columns, asking.prompt.as_ref())?;
    let folder = ModelFolder::open(at.input("model")?)?;
    let mut texts = Texts::open(at.input("data")?, settings.columns)?;
    texts.skip(at.record.saturating_sub(1))?;
    let (tokenizer, prompt, into) = (&folder.tokenizer, asking.prompt.as_ref(), settings.into);
    let read = texts.next(|record| {
        let subject = Subject { record, prompt, tokenizer: Some(tokenizer), into };
        asking.form.question(&subject, &mut record.map.clone())
    })?;
    let Some(conversation) = read else { return Ok(None) };
    let template = folder.template_of(at.template(), settings.template)?;
    let how = (prompt, settings.max_seq_len);
    rendered((&folder, &template), &conversation, how).map(Some)
}

/// What a kind that lets a model choose would ask; nothing where there is no such record.
pub(crate) fn chosen(choosing: &Choosing<'_>, at: At<'_>) -> Result<Option<Preview>, StepError> {
    check_names(choosing.kind, choosing.columns, choosing.prompt.as_ref())?;
    let folder = ModelFolder::open(at.input("model")?)?;
    let mut texts = Texts::open(at.input("data")?, choosing.columns)?;
    texts.skip(at.record.saturating_sub(1))?;
    let prompt = choosing.prompt.as_ref();
    let read = texts.next(|record| match prompt {
        Some(it) => it.question(record),
        None => question(record),
    })?;
    let Some(conversation) = read else { return Ok(None) };
    let template = folder.template_of(at.template(), choosing.template)?;
    let how = (prompt, choosing.max_seq_len);
    let mut preview = rendered((&folder, &template), &conversation, how)?;
    let chat = Chat { tokenizer: &folder.tokenizer, template: &template };
    let tokens = choices(chat, &conversation, choosing)?;
    let lengths = tokens.candidates.iter().map(Vec::len);
    preview.choices = choosing.choices.iter().cloned().zip(lengths).collect();
    Ok(Some(preview))
}

fn rendered(
    (folder, template): (&ModelFolder, &model::Template),
    conversation: &Conversation,
    (prompt, max_seq_len): (Option<&Prompt>, Option<usize>),
) -> Result<Preview, StepError> {
    let chat = Chat { tokenizer: &folder.tokenizer, template };
    let ids = chat.prompt(conversation)?;
    let room = model::context(&folder.config, max_seq_len);
    let n = ids.len();
    let note = (n >= room).then(|| format!("it is too long: {n} tokens, and room for {room}"));
    let sample = Sample { trained: vec![false; n], ids };
    Ok(Preview {
        prompt: prompt.map(|it| (it.id().to_owned(), it.digest())),
        template: template.name().to_owned(),
        text: chat.text(conversation, Ask::Answer)?,
        tokens: view(&folder.tokenizer, &sample)?,
        room,
        choices: Vec::new(),
        note,
    })
}

/// A conversation as it is trained.
pub(crate) fn trained(
    chat: Chat<'_>,
    (conversation, sample): (&Conversation, &Sample),
    room: usize,
    mut note: Option<String>,
) -> Result<Preview, StepError> {
    if !sample.trained.iter().skip(1).any(|it| *it) {
        let nothing = "nothing of it would be trained: the step refuses such a record".to_owned();
        note = Some(note.map_or(nothing.clone(), |it| format!("{it}; {nothing}")));
    }
    Ok(Preview {
        prompt: None,
        template: chat.template.name().to_owned(),
        text: chat.text(conversation, Ask::Nothing)?,
        tokens: view(chat.tokenizer, sample)?,
        room,
        choices: Vec::new(),
        note,
    })
}
