//! Tokens of what a model is asked: texts to compare, or a prompt to go on with.

use super::prompt::{Preset, Writer, with_gaps};
use super::{LETTERS, Question};
use crate::StepError;
use crate::model::{Chat, Conversation, LossOn, ModelFolder, Template, TextError};

/// How answers are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Four texts are compared as wholes, by loss through tokens.
    Whole,
    /// Four endings of one text are compared, by their probability.
    Ending,
    /// The model writes.
    Written,
}

/// A question in tokens.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// How many questions are shown before it.
    pub(crate) shots: usize,
    /// What was shown to the model, less the answer: for whoever reads the predictions.
    pub(crate) prompt: String,
    /// What all candidates begin with; or the prompt. Never empty where there are candidates.
    pub(crate) stem: Vec<u32>,
    /// The rest of each; none where the model writes.
    pub(crate) tails: Vec<Vec<u32>>,
}

impl Asked {
    /// How long the longest text is.
    pub(crate) fn tokens(&self) -> usize {
        self.stem.len() + self.tails.iter().map(Vec::len).max().unwrap_or(0)
    }
}

/// Makes tokens of questions.
pub(crate) struct Asker<'a> {
    folder: &'a ModelFolder,
    preset: Preset,
    pub(crate) way: Way,
    template: Option<Template>,
    /// The most tokens that a text may have.
    room: usize,
}

/// What an asker is made of.
#[derive(Clone, Copy)]
pub(crate) struct Manner<'a> {
    pub(crate) preset: Preset,
    pub(crate) written: bool,
    pub(crate) template: Option<&'a str>,
    pub(crate) room: usize,
}

impl<'a> Asker<'a> {
    pub(crate) fn new(folder: &'a ModelFolder, manner: &Manner<'_>) -> Result<Self, StepError> {
        let wrong =
            |reason: &str| Err(StepError::Params { kind: "eval", reason: reason.to_owned() });
        let way = match (manner.preset, manner.written) {
            (Preset::Opencompass, true) => Way::Written,
            (Preset::Opencompass, false) => Way::Whole,
            (_, false) => Way::Ending,
            (_, true) => return wrong("`mode = \"gen\"` is for `preset = \"opencompass\"` only"),
        };
        let template = match (manner.preset, manner.template) {
            (_, None) => None,
            (Preset::LmEval, Some(_)) => {
                return wrong("`preset = \"lm_eval\"` knows no `template`");
            }
            // Where whole texts are compared, there are gaps between the rounds.
            (Preset::Opencompass, Some("yi-chatml")) if way == Way::Whole => Some(with_gaps()?),
            (_, Some(name)) => Some(Template::built_in(name)?),
        };
        Ok(Self { folder, preset: manner.preset, way, template, room: manner.room })
    }

    /// A question with as many shown before it as there is room for, from the most that `writer` has.
    /// As in OpenCompass they are taken away from the end.
    pub(crate) fn ask(
        &self,
        mut writer: Writer<'_>,
        question: &Question,
    ) -> Result<Asked, StepError> {
        loop {
            let asked = self.in_tokens(writer, question)?;
            if asked.tokens() <= self.room || writer.shots == 0 {
                return Ok(asked);
            }
            writer.shots -= 1;
        }
    }

    fn in_tokens(&self, writer: Writer<'_>, question: &Question) -> Result<Asked, StepError> {
        match (self.way, self.preset) {
            (Way::Written, _) => self.prompt(writer, question),
            (Way::Whole, _) => self.wholes(writer, question),
            (_, Preset::Cloze) => self.cloze(writer.shots, question),
            _ => self.letters(writer, question),
        }
    }

    fn chat(&self) -> Option<Chat<'_>> {
        let template = self.template.as_ref()?;
        Some(Chat { tokenizer: &self.folder.tokenizer, template })
    }

    fn document(&self, text: &str) -> Result<Vec<u32>, TextError> {
        self.folder.tokenizer.encode_document(text)
    }

    fn prompt(&self, writer: Writer<'_>, question: &Question) -> Result<Asked, StepError> {
        let (prompt, stem) = match self.chat() {
            Some(chat) => {
                let rounds = writer.rounds(question, None);
                (chat.text(&rounds, crate::model::Ask::Answer)?, chat.prompt(&rounds)?)
            }
            None => {
                let text = writer.begun(question);
                let ids = self.document(&text)?;
                (text, ids)
            }
        };
        Ok(Asked { shots: writer.shots, prompt, stem, tails: Vec::new() })
    }

    fn wholes(&self, writer: Writer<'_>, question: &Question) -> Result<Asked, StepError> {
        let whole = |letter: &str| match self.chat() {
            Some(chat) => Ok(chat.sample(&writer.rounds(question, Some(letter)), LossOn::All)?.ids),
            None => self.document(&writer.whole(question, letter)),
        };
        let all = LETTERS.map(whole).into_iter().collect::<Result<Vec<_>, _>>()?;
        let prompt = match self.chat() {
            Some(chat) => {
                chat.text(&writer.rounds(question, Some("?")), crate::model::Ask::Nothing)?
            }
            None => writer.whole(question, "?"),
        };
        Ok(split(writer.shots, prompt, &all))
    }

    fn letters(&self, writer: Writer<'_>, question: &Question) -> Result<Asked, StepError> {
        let text = writer.lm_eval(question);
        let before = self.document(&text)?;
        let mut tails = Vec::new();
        for letter in LETTERS {
            // As lm-evaluation-harness does: what a whole has beyond as many tokens as the prompt.
            let whole = self.document(&format!("{text} {letter}"))?;
            tails.push(whole.get(before.len()..).unwrap_or_default().to_vec());
        }
        Ok(Asked { shots: writer.shots, prompt: text, stem: before, tails })
    }

    fn cloze(&self, shots: usize, question: &Question) -> Result<Asked, StepError> {
        let Some(chat) = self.chat() else {
            let text = format!("{}\n", question.text);
            let whole = |option: &String| self.document(&format!("{text}{option}"));
            let all = question.options.iter().map(whole).collect::<Result<Vec<_>, _>>()?;
            return Ok(split(shots, text, &all));
        };
        let asked = Conversation::pair(None, &question.text, None);
        let mut all = Vec::new();
        for option in &question.options {
            let answered = Conversation::pair(None, &question.text, Some(option));
            let sample = chat.sample(&answered, LossOn::Answer)?;
            let end = sample.trained.iter().rposition(|it| *it).map_or(0, |it| it + 1);
            all.push(sample.ids[..end].to_vec());
        }
        let mut it = split(shots, chat.text(&asked, crate::model::Ask::Answer)?, &all);
        // Options that begin alike share more than the prompt; that changes no comparison.
        it.shots = 0;
        Ok(it)
    }
}

/// Texts as what they begin with alike and the rest of each, of which none is empty.
fn split(shots: usize, prompt: String, all: &[Vec<u32>]) -> Asked {
    let shortest = all.iter().map(Vec::len).min().unwrap_or(0);
    let alike = |at: &usize| all.iter().all(|it| it[*at] == all[0][*at]);
    let n = (0..shortest.saturating_sub(1)).take_while(alike).count();
    let tails = all.iter().map(|it| it[n..].to_vec()).collect();
    Asked { shots, prompt, stem: all[0][..n].to_vec(), tails }
}
