//! What a model reads of a question, to the byte.
//!
//! `opencompass` is what OpenCompass 0.2.1 makes of the configurations `ceval_ppl_578f8d`,
//! `ceval_gen_5f30c7`, `cmmlu_ppl_8b9c76` and `cmmlu_gen_c13365`, its odd line feeds included: three
//! of them behind each question that is shown with its answer and two more before the question that
//! counts, where whole texts are compared; without such questions there are none. Names in braces are
//! replaced as it does it ([`safe_format`]), so that LaTeX such as `\oint_{C}` becomes something else in its
//! prompts, and in ours. `lm_eval` is what
//! lm-evaluation-harness makes of `ceval-valid` and `cmmlu`. `cloze` is ours: the question alone, and
//! the options' texts, not their letters, as answers to it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{LETTERS, Question, Shape, Sheet};
use crate::model::{Conversation, Template, TextError};

/// Whose prompts these are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Preset {
    /// OpenCompass's.
    #[default]
    Opencompass,
    /// Those of lm-evaluation-harness.
    LmEval,
    /// The question alone; its options are possible answers.
    Cloze,
}

/// Before the last of a conversation's rounds there are two line feeds more, before others one.
pub(crate) const CHATML_WITH_GAPS: &str = "{% for m in messages %}<|im_start|>{{ m.role }}\n\
    {{ m.content }}<|im_end|>\n{% if m.role == 'assistant' and loop.revindex0 > 0 %}{{ '\\n' }}{% endif %}\
    {% if m.role == 'assistant' and loop.revindex0 == 2 %}{{ '\\n' }}{% endif %}{% endfor %}";

/// The same, as [`crate::model::YI_CHATML`] has it.
pub(crate) fn with_gaps() -> Result<Template, TextError> {
    Template::trusted("yi-chatml", CHATML_WITH_GAPS)
}

/// What is said before an answer, and how an answer begins.
struct Words {
    human: String,
    bot: &'static str,
}

/// The text of a question with its fields' names in braces, and how an answer begins.
fn opencompass(shape: Shape, subject: &str) -> Words {
    let options = "A. {A}\nB. {B}\nC. {C}\nD. {D}";
    match shape {
        Shape::Ceval => Words {
            human: format!(
                "以下是中国关于{subject}考试的单项选择题，请选出其中的正确答案。\n{{question}}\n{options}\n答案: "
            ),
            bot: "",
        },
        Shape::Cmmlu => Words {
            human: format!(
                "以下是关于{subject}的单项选择题，请直接给出正确答案的选项。\n题目：{{question}}\n{options}"
            ),
            bot: "答案是: ",
        },
    }
}

/// Puts fields where their names stand in braces: one name after another, also in what was put there
/// before, which is what OpenCompass's function of this name does.
fn safe_format(text: String, fields: &[(&str, &str)]) -> String {
    let put =
        |text: String, (name, value): &(&str, &str)| text.replace(&format!("{{{name}}}"), value);
    fields.iter().fold(text, put)
}

/// Puts the questions of a sheet.
#[derive(Clone, Copy)]
pub(crate) struct Writer<'a> {
    pub(crate) shape: Shape,
    pub(crate) sheet: &'a Sheet,
    /// How many questions are shown with their answers.
    pub(crate) shots: usize,
}

impl Writer<'_> {
    /// The fields of a question in the order of OpenCompass's loaders; where a model shall write the
    /// answer, none is told.
    fn fields<'q>(&self, question: &'q Question, answer: &'static str) -> Vec<(&'q str, &'q str)> {
        let Question { text, options: [a, b, c, d], id, explanation, .. } = question;
        let mut fields: Vec<(&str, &str)> =
            vec![("question", text), ("A", a), ("B", b), ("C", c), ("D", d), ("answer", answer)];
        if self.shape == Shape::Ceval {
            if let Some(id) = id {
                fields.insert(0, ("id", id));
            }
            fields.push(("explanation", explanation.as_deref().unwrap_or_default()));
        }
        fields
    }

    /// A question that is shown before the one with these fields: it is part of that one's template.
    fn shown_words(&self, question: &Question, asked: &[(&str, &str)]) -> Words {
        let Words { human, bot } = opencompass(self.shape, &self.sheet.subject.zh);
        let human = safe_format(human, &self.fields(question, LETTERS[question.answer]));
        Words { human: safe_format(human, asked), bot }
    }

    fn asked_words(&self, asked: &[(&str, &str)]) -> Words {
        let Words { human, bot } = opencompass(self.shape, &self.sheet.subject.zh);
        Words { human: safe_format(human, asked), bot }
    }

    fn shown(&self) -> &[Question] {
        &self.sheet.shots[..self.shots]
    }

    /// The whole text with a letter as the answer, for a model without a chat template.
    pub(crate) fn whole(&self, question: &Question, letter: &str) -> String {
        let asked = self.fields(question, LETTERS[question.answer]);
        let round = |Words { human, bot }: Words, letter: &str| format!("{human}\n{bot}{letter}");
        let mut text = String::new();
        for it in self.shown() {
            text += &round(self.shown_words(it, &asked), LETTERS[it.answer]);
            text += "\n\n\n";
        }
        if self.shots > 0 {
            text += "\n\n";
        }
        text + &round(self.asked_words(&asked), letter)
    }

    /// The text that a model without a chat template goes on with.
    pub(crate) fn begun(&self, question: &Question) -> String {
        let asked = self.fields(question, "");
        let mut text = String::new();
        for it in self.shown() {
            let Words { human, bot } = self.shown_words(it, &asked);
            text += &format!("{human}\n{bot}{}\n", LETTERS[it.answer]);
        }
        let Words { human, bot } = self.asked_words(&asked);
        text += &human;
        if !bot.is_empty() {
            text += "\n";
            text += bot;
        }
        text
    }

    /// The questions as a conversation, with a letter as the last answer or without.
    pub(crate) fn rounds(&self, question: &Question, letter: Option<&str>) -> Conversation {
        let told = letter.map_or("", |_| LETTERS[question.answer]);
        let asked = self.fields(question, told);
        let shown = self.shown().iter();
        let shown = shown.map(|it| (self.shown_words(it, &asked), Some(LETTERS[it.answer])));
        let mut all: Option<Conversation> = None;
        for (Words { human, bot }, letter) in shown.chain([(self.asked_words(&asked), letter)]) {
            let answer = letter.map(|it| format!("{bot}{it}"));
            match &mut all {
                None => all = Some(Conversation::pair(None, &human, answer.as_deref())),
                Some(all) => {
                    all.push("user", &human);
                    if let Some(answer) = answer {
                        all.push("assistant", &answer);
                    }
                }
            }
        }
        all.unwrap_or_else(|| Conversation::pair(None, "", None))
    }

    /// What lm-evaluation-harness puts before a letter.
    pub(crate) fn lm_eval(&self, question: &Question) -> String {
        let subject = &self.sheet.subject.zh;
        let mut text = match self.shape {
            Shape::Ceval => {
                format!("以下是中国关于{subject}的单项选择题，请选出其中的正确答案。\n\n")
            }
            Shape::Cmmlu => {
                format!("以下是关于{subject}的单项选择题，请直接给出正确答案的选项。\n\n")
            }
        };
        let asked = |it: &Question| {
            let [a, b, c, d] = &it.options;
            format!("{}\nA. {a}\nB. {b}\nC. {c}\nD. {d}\n答案：", it.text.trim())
        };
        for it in self.shown() {
            text += &format!("{} {}\n\n", asked(it), LETTERS[it.answer]);
        }
        text + &asked(question)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::Subject;
    use super::*;
    use crate::model::tests::fixture;
    use crate::model::{Ask, Chat, Tokenizer, YI_CHATML};

    const GOLDEN: &str = include_str!("opencompass.json");

    fn question(it: &Value) -> Question {
        let text = |name: &str| it[name].as_str().unwrap().to_owned();
        Question {
            text: text("question"),
            options: LETTERS.map(text),
            answer: LETTERS.iter().position(|letter| it["answer"] == **letter).unwrap(),
            id: it["id"].as_str().map(str::to_owned),
            explanation: it["explanation"].as_str().map(str::to_owned),
        }
    }

    fn subject(key: &str, zh: &str) -> Subject {
        Subject {
            key: key.to_owned(),
            zh: zh.to_owned(),
            categories: Vec::new(),
            questions: std::collections::BTreeMap::new(),
        }
    }

    /// What OpenCompass's own code made of questions with braces: `tests/oracle/braces.py`.
    const BRACES: &str = include_str!("../../../../tests/oracle/fixtures/exam/braces.json");

    #[test]
    fn names_in_braces_are_replaced_as_opencompass_replaces_them() {
        let mut n = 0;
        for line in BRACES.lines() {
            let case: Value = serde_json::from_str(line).unwrap();
            let shape = if case["shape"] == "ceval" { Shape::Ceval } else { Shape::Cmmlu };
            let shots: Vec<Question> =
                case["shots"].as_array().unwrap().iter().map(question).collect();
            let asked = question(&case["asked"]);
            let sheet = Sheet { subject: subject("x", "概率{B}"), shots, questions: Vec::new() };
            let writer = Writer { shape, sheet: &sheet, shots: sheet.shots.len() };
            for letter in LETTERS {
                assert_eq!(writer.whole(&asked, letter), case["prompts"][letter], "{line}");
            }
            assert_eq!(writer.begun(&asked), case["prompts"]["gen"], "{line}");
            // A chat has the same words, round for round.
            let text = |letter: Option<&str>| {
                let rounds = writer.rounds(&asked, letter);
                let texts = rounds.parts().0.iter().map(|it| it["content"].as_str().unwrap());
                texts.map(str::to_owned).collect::<Vec<_>>()
            };
            let whole = writer.whole(&asked, "A");
            let mut rest = whole.as_str();
            for it in text(Some("A")) {
                let at = rest.find(&it).unwrap_or_else(|| panic!("no {it:?} in {rest:?}"));
                rest = &rest[at + it.len()..];
            }
            let begun = writer.begun(&asked);
            assert!(begun.contains(text(None).last().unwrap().as_str()), "{line}");
            n += 1;
        }
        assert_eq!(n, 120);
    }

    #[test]
    fn prompts_are_opencompass_to_the_byte() {
        let golden: Value = serde_json::from_str(GOLDEN).unwrap();
        let all = |name: &str| golden[name].as_array().unwrap().iter().map(question).collect();
        let (shots, questions): (Vec<_>, Vec<_>) = (all("dev"), all("test"));
        let tokenizer = Tokenizer::open(&fixture("made")).unwrap();
        let gaps = with_gaps().unwrap();
        let plain = Template::new("yi-chatml", YI_CHATML).unwrap();
        for (shape, name, zh) in
            [(Shape::Ceval, "ceval", "计算机网络"), (Shape::Cmmlu, "cmmlu", "农学")]
        {
            let subject = subject(name, zh);
            let sheet = Sheet { subject, shots: shots.clone(), questions: questions.clone() };
            let writer = Writer { shape, sheet: &sheet, shots: 5 };
            let it = &sheet.questions[0];
            let prompts = &golden["prompts"];
            let show = |template, letter, ask| {
                let chat = Chat { tokenizer: &tokenizer, template };
                chat.text(&writer.rounds(it, letter), ask).unwrap()
            };
            for letter in LETTERS {
                let want = &prompts[format!("{name}_ppl_base")][letter];
                assert_eq!(writer.whole(it, letter), want.as_str().unwrap());
                let want = &prompts[format!("{name}_ppl_yi-chat")][letter];
                assert_eq!(show(&gaps, Some(letter), Ask::Nothing), want.as_str().unwrap());
            }
            let want = &prompts[format!("{name}_gen_base")];
            assert_eq!(writer.begun(it), want.as_str().unwrap());
            let want = &prompts[format!("{name}_gen_yi-chat")];
            assert_eq!(show(&plain, None, Ask::Answer), want.as_str().unwrap());
        }
    }
}
