//! An instruction and its answer, out of records of the shapes that people have, and back into them.

use serde_json::{Map, Value, json};

use crate::model::record::{Columns, Record, Unfit, text_of_content};

/// A record as a task, what it is done with, and the result; what was said before it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Pair {
    pub(crate) system: String,
    /// Earlier questions with their answers.
    pub(crate) history: Vec<[String; 2]>,
    pub(crate) instruction: String,
    pub(crate) input: String,
    pub(crate) output: String,
}

/// A shape of records: its name, the fields that it uses, and what becomes of them in words.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Shape {
    pub(crate) name: &'static str,
    pub(crate) mapping: &'static str,
    fields: &'static [&'static str],
}

const SHAPES: [Shape; 7] = [
    Shape {
        name: "messages",
        mapping: "the last user message → instruction, its answer → output, earlier ones → history",
        fields: &["messages", "system", "chosen"],
    },
    Shape {
        name: "sharegpt",
        mapping: "the last human turn → instruction, its answer → output, earlier ones → history",
        fields: &["conversations", "system", "chosen"],
    },
    Shape {
        name: "alpaca",
        mapping: "instruction → instruction, input → input, output or chosen → output",
        fields: &["instruction", "input", "output", "system", "history", "chosen"],
    },
    Shape {
        name: "coig",
        mapping: "textbox_q_instruction → instruction, textbox_q_context and textbox_question → \
                  input, textbox_answer and textbox_answer_analysis → output",
        fields: &TEXTBOX,
    },
    Shape {
        name: "prompt",
        mapping: "prompt → instruction, completion or chosen → output",
        fields: &["prompt", "completion", "chosen", "system"],
    },
    Shape {
        name: "input-target",
        mapping: "input → instruction, target → output",
        fields: &["input", "target"],
    },
    Shape {
        name: "instances",
        mapping: "instruction → instruction, input and output of each of instances → input and output",
        fields: &["instruction", "input", "output", "system", "history", "instances"],
    },
];

/// The field of BELLE's and Alpaca's first tasks with their examples.
const INSTANCES: &str = "instances";

const TEXTBOX: [&str; 5] = [
    "textbox_q_instruction",
    "textbox_q_context",
    "textbox_question",
    "textbox_answer",
    "textbox_answer_analysis",
];

impl Pair {
    /// Reads the pairs of a record, and says which shape it has: one, or one for each of its
    /// `instances`.
    pub(crate) fn all(record: Record<'_>) -> Result<(Shape, Vec<Self>), Unfit> {
        let Some(instances) = record.map.get(INSTANCES).and_then(Value::as_array) else {
            return Self::read(record).map(|(shape, pair)| (shape, vec![pair]));
        };
        let mut pairs = Vec::new();
        for (i, it) in instances.iter().enumerate() {
            let at = || format!("{INSTANCES}[{i}]");
            let it = it.as_object().ok_or_else(|| Unfit::field(at(), "is no object"))?;
            let mut map = record.map.clone();
            for ours in ["input", "output"] {
                let name = record.columns.get(ours).map_or(ours, String::as_str);
                map.insert(name.to_owned(), it.get(name).cloned().unwrap_or(Value::Null));
            }
            let read = Self::read(Record { map: &map, columns: record.columns });
            let named = |mut why: Unfit| {
                why.field = Some(why.field.map_or(at(), |it| format!("{}.{it}", at())));
                why
            };
            pairs.push(read.map_err(named)?.1);
        }
        if pairs.is_empty() {
            return Err(Unfit::field(INSTANCES, "is empty"));
        }
        Ok((SHAPES[6], pairs))
    }

    /// Reads a record that is one pair, and says which shape it has.
    pub(crate) fn read(record: Record<'_>) -> Result<(Shape, Self), Unfit> {
        record.check_wanted()?;
        let named = |ours: &str| record.columns.get(ours).map_or(ours, String::as_str).to_owned();
        let has = |it: &str| record.map.get(it).is_some_and(|it| !it.is_null());
        let (shape, pair) = if has(&named("messages")) {
            (SHAPES[0], Self::of_conversation(record)?)
        } else if has(&named("conversations")) {
            (SHAPES[1], Self::of_conversation(record)?)
        } else if has(&named("instruction")) {
            let mut pair = Self::of_conversation(record)?;
            // The conversation has instruction and input in one: here they stay apart.
            pair.instruction = text(record.map, &named("instruction"))?;
            pair.input = text(record.map, &named("input"))?;
            (SHAPES[2], pair)
        } else if has("textbox_q_instruction") || has("textbox_question") {
            (SHAPES[3], Self::of_textbox(record.map)?)
        } else if has(&named("prompt")) {
            (SHAPES[4], Self::of_conversation(record)?)
        } else if has("input") && has("target") {
            let (instruction, output) = (text(record.map, "input")?, text(record.map, "target")?);
            (SHAPES[5], Self { instruction, output, ..Self::default() })
        } else {
            // It is none; the reader of conversations says so with the names that are there.
            (SHAPES[0], Self::of_conversation(record)?)
        };
        for (name, it) in [("instruction", &pair.instruction), ("output", &pair.output)] {
            if it.trim().is_empty() {
                return Err(Unfit::field(name, "is empty or missing"));
            }
        }
        Ok((shape, pair))
    }

    /// COIG's forms with text boxes: the examination and the human-value records.
    fn of_textbox(map: &Map<String, Value>) -> Result<Self, Unfit> {
        let join = |names: &[&str]| -> Result<String, Unfit> {
            let mut all = Vec::new();
            for it in names {
                all.push(text(map, it)?);
            }
            all.retain(|it| !it.trim().is_empty());
            Ok(all.join("\n"))
        };
        let (mut instruction, mut input) = (join(&TEXTBOX[..1])?, join(&TEXTBOX[1..3])?);
        if instruction.is_empty() {
            std::mem::swap(&mut instruction, &mut input);
        }
        Ok(Self { instruction, input, output: join(&TEXTBOX[3..])?, ..Self::default() })
    }

    fn of_conversation(record: Record<'_>) -> Result<Self, Unfit> {
        let conversation = record.conversation()?;
        let mut pair = Self::default();
        let mut said: Vec<[String; 2]> = Vec::new();
        let mut question: Option<String> = None;
        for (i, it) in conversation.messages().iter().enumerate() {
            let at = || format!("message {}", i + 1);
            let content = text_of_content(it.get("content").unwrap_or(&Value::Null));
            let content = content.map_err(|reason| Unfit::field(at(), reason))?;
            match (it.get("role").and_then(Value::as_str), question.take()) {
                (Some("system"), None) if i == 0 => pair.system = content,
                (Some("user"), None) => question = Some(content),
                (Some("assistant"), Some(question)) => said.push([question, content]),
                _ => {
                    let reason = "does not follow as question and answer do in turn";
                    return Err(Unfit::field(at(), reason));
                }
            }
        }
        if question.is_some() {
            return Err(Unfit::new("has no answer at its end"));
        }
        let Some([instruction, output]) = said.pop() else {
            return Err(Unfit::new("has no question with an answer"));
        };
        Ok(Self { history: said, instruction, output, ..pair })
    }

    /// The fields of the shape `alpaca`; what is not there is left out, but for `input`.
    pub(crate) fn alpaca(&self) -> Map<String, Value> {
        let mut map = Map::new();
        if !self.system.is_empty() {
            map.insert("system".to_owned(), json!(self.system));
        }
        map.insert("instruction".to_owned(), json!(self.instruction));
        map.insert("input".to_owned(), json!(self.input));
        map.insert("output".to_owned(), json!(self.output));
        if !self.history.is_empty() {
            map.insert("history".to_owned(), json!(self.history));
        }
        map
    }

    /// The instruction with what it is done with.
    pub(crate) fn question(&self) -> String {
        if self.input.is_empty() {
            return self.instruction.clone();
        }
        format!("{}\n{}", self.instruction, self.input)
    }

    /// Who said what, in turn.
    pub(crate) fn turns(&self) -> Vec<(&'static str, String)> {
        let mut all = Vec::new();
        if !self.system.is_empty() {
            all.push(("system", self.system.clone()));
        }
        for [question, answer] in &self.history {
            all.extend([("user", question.clone()), ("assistant", answer.clone())]);
        }
        all.extend([("user", self.question()), ("assistant", self.output.clone())]);
        all
    }
}

impl Shape {
    /// Whether records of this shape use the field, by the names that `columns` gives.
    pub(crate) fn uses(&self, field: &str, columns: &Columns) -> bool {
        let named = |it: &&str| columns.get(*it).map_or(*it, String::as_str) == field;
        self.fields.iter().any(named)
    }
}

/// A text, empty where there is none.
fn text(map: &Map<String, Value>, name: &str) -> Result<String, Unfit> {
    match map.get(name) {
        None | Some(Value::Null) => Ok(String::new()),
        Some(Value::String(it)) => Ok(it.clone()),
        Some(_) => Err(Unfit::field(name, "is not a text")),
    }
}
