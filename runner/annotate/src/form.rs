//! What people are asked: the texts that are shown, the questions, and the answers there are.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::AnnotateError;

/// A text in both languages of the page; one of them is enough.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Words {
    /// English.
    #[serde(default)]
    pub en: String,
    /// Chinese.
    #[serde(default)]
    pub zh: String,
}

/// A field of the records that is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shown {
    /// Its name.
    pub field: String,
    /// What stands above it.
    #[serde(default)]
    pub label: Words,
}

/// One answer to a question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Choice {
    /// What is written down.
    pub id: String,
    /// What is shown.
    #[serde(default)]
    pub text: Words,
}

/// A question with its answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// What is written down.
    pub id: String,
    /// What is shown.
    #[serde(default)]
    pub text: Words,
    /// The answers, in the order of the keys 1 to 9.
    pub choices: Vec<Choice>,
}

/// What people are asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Form {
    /// What stands at the top.
    #[serde(default)]
    pub title: Words,
    /// What people read before they begin.
    #[serde(default)]
    pub guidelines: Words,
    /// The fields that are shown, in order.
    pub shown: Vec<Shown>,
    /// Where two models are compared: the field with their answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
    /// The questions.
    pub questions: Vec<Question>,
}

/// The answers that a comparison may have.
pub const SIDES: [&str; 4] = ["left", "right", "tie", "both_bad"];

const BUILT_IN: [(&str, &str); 3] = [
    ("quality", include_str!("forms/quality.toml")),
    ("pairwise", include_str!("forms/pairwise.toml")),
    ("pairwise-ties", include_str!("forms/pairwise-ties.toml")),
];

const MAX_QUESTIONS: usize = 20;

impl Form {
    /// A form that comes with the program.
    pub fn built_in(name: &str) -> Option<Self> {
        let text = BUILT_IN.iter().find(|it| it.0 == name)?.1;
        Self::parse(name, text).ok()
    }

    /// The names of the forms that come with the program.
    pub fn names() -> impl Iterator<Item = &'static str> {
        BUILT_IN.iter().map(|it| it.0)
    }

    /// Reads a form from TOML.
    pub fn parse(name: &str, text: &str) -> Result<Self, AnnotateError> {
        let wrong = |reason: String| AnnotateError::Form { name: name.to_owned(), reason };
        let form: Self =
            toml::from_str(text).map_err(|it| wrong(it.to_string().trim_end().to_owned()))?;
        form.check().map_err(wrong)?;
        Ok(form)
    }

    /// Whether two answers stand side by side.
    pub fn compares(&self) -> bool {
        self.answer.is_some()
    }

    /// Whether these are answers to all questions, and no others.
    pub(crate) fn fits(&self, answers: &std::collections::BTreeMap<String, String>) -> bool {
        let answered = |it: &Question| {
            answers.get(&it.id).is_some_and(|id| it.choices.iter().any(|it| &it.id == id))
        };
        answers.len() == self.questions.len() && self.questions.iter().all(answered)
    }

    /// What is wrong with it.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.shown.is_empty() && self.answer.is_none() {
            return Err("`shown` names no field".to_owned());
        }
        if self.questions.is_empty() || self.questions.len() > MAX_QUESTIONS {
            return Err(format!("there must be 1 to {MAX_QUESTIONS} `questions`"));
        }
        distinct("question", self.questions.iter().map(|it| &it.id))?;
        self.questions.iter().try_for_each(|it| self.check_question(it))
    }

    fn check_question(&self, question: &Question) -> Result<(), String> {
        let id = &question.id;
        if !(2..=9).contains(&question.choices.len()) {
            return Err(format!("question `{id}` must have 2 to 9 `choices`, one for each key"));
        }
        distinct(&format!("choice of `{id}`"), question.choices.iter().map(|it| &it.id))?;
        if self.compares() {
            let has = |side: &str| question.choices.iter().any(|it| it.id == side);
            let other = question.choices.iter().find(|it| !SIDES.contains(&it.id.as_str()));
            if let Some(it) = other {
                let all = SIDES.join("`, `");
                return Err(format!("choice `{}` of `{id}` is none of `{all}`", it.id));
            }
            if !has("left") || !has("right") {
                return Err(format!("question `{id}` needs the choices `left` and `right`"));
            }
        }
        Ok(())
    }
}

fn distinct<'a>(what: &str, ids: impl Iterator<Item = &'a String>) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    for id in ids {
        if id.is_empty() || id.chars().any(|it| !it.is_ascii_alphanumeric() && it != '_') {
            return Err(format!("{what} `{id}` must be letters, digits and `_`"));
        }
        if !seen.insert(id) {
            return Err(format!("{what} `{id}` comes twice"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_forms_are_the_papers() {
        let quality = Form::built_in("quality").unwrap();
        let ids = |it: &Question| {
            let choices: Vec<&str> = it.choices.iter().map(|it| it.id.as_str()).collect();
            format!("{}: {}", it.id, choices.join(" "))
        };
        let all: Vec<String> = quality.questions.iter().map(ids).collect();
        assert_eq!(
            all,
            [
                "clarity: yes no",
                "feasibility: yes no",
                "practicality: yes no",
                "output: excellent pass fail"
            ]
        );
        assert!(!quality.compares());
        for (name, n) in [("pairwise", 2), ("pairwise-ties", 4)] {
            let form = Form::built_in(name).unwrap();
            assert!(form.compares() && form.questions[0].choices.len() == n);
        }
        assert_eq!(Form::names().count(), 3);
        assert!(Form::names().all(|it| Form::built_in(it).is_some()));
    }

    #[test]
    fn a_form_that_cannot_be_used_is_refused_with_the_reason() {
        let choices = |ids: &[&str]| {
            let all: Vec<String> = ids.iter().map(|it| format!("{{ id = '{it}' }}")).collect();
            format!("[{}]", all.join(", "))
        };
        let form = |head: &str, ids: &[&str]| {
            format!("{head}\n[[questions]]\nid = 'q'\nchoices = {}\n", choices(ids))
        };
        let rate = "shown = [{ field = 'text' }]";
        let compare = "shown = []\nanswer = 'text'";
        for (text, reason) in [
            (form("shown = []", &["a", "b"]), "`shown` names no field"),
            (form(rate, &["a"]), "question `q` must have 2 to 9 `choices`, one for each key"),
            (form(rate, &["a", "a"]), "choice of `q` `a` comes twice"),
            (form(rate, &["a b", "a"]), "choice of `q` `a b` must be letters, digits and `_`"),
            (
                form(compare, &["left", "better"]),
                "choice `better` of `q` is none of `left`, `right`, `tie`, `both_bad`",
            ),
            (form(compare, &["left", "tie"]), "question `q` needs the choices `left` and `right`"),
            (format!("{rate}\nquestions = []"), "there must be 1 to 20 `questions`"),
        ] {
            let error = Form::parse("f", &text).unwrap_err().to_string();
            assert_eq!(error, format!("form `f`: {reason}"));
        }
        assert!(Form::parse("f", "shown = 3").is_err());
    }
}
