//! Texts and conversations out of records of the forms that people have.
//!
//! The form is seen from a record's fields: `messages`; `conversations`; `instruction` with `output`;
//! `prompt` with `completion`; `text`. Other names are given by `columns`. Where a preference's `chosen`
//! stands in place of the last answer, it is the answer.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::chat::Conversation;

/// Names of ours with the names that the data has for them.
pub(crate) type Columns = BTreeMap<String, String>;

/// Why a record cannot be used: the field, if it is one, and the reason.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unfit {
    pub(crate) field: Option<String>,
    pub(crate) reason: String,
}

impl Unfit {
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Self { field: None, reason: reason.into() }
    }

    pub(crate) fn field(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { field: Some(field.into()), reason: reason.into() }
    }
}

/// The names that `columns` may give.
pub(crate) const COLUMNS: [&str; 13] = [
    "text",
    "messages",
    "conversations",
    "tools",
    "system",
    "instruction",
    "input",
    "output",
    "history",
    "prompt",
    "completion",
    "role",
    "content",
];

/// The first name in `columns` that means nothing.
pub(crate) fn unknown_column(columns: &Columns) -> Option<&str> {
    columns.keys().map(String::as_str).find(|it| !COLUMNS.contains(it))
}

/// A record with the names that its fields go by.
#[derive(Clone, Copy)]
pub(crate) struct Record<'a> {
    pub(crate) map: &'a Map<String, Value>,
    pub(crate) columns: &'a Columns,
}

impl<'a> Record<'a> {
    /// What the data calls a field of ours.
    pub(crate) fn name(&self, ours: &str) -> String {
        self.columns.get(ours).map_or(ours, String::as_str).to_owned()
    }

    /// A field that is there and not null.
    fn get(&self, ours: &str) -> Option<&'a Value> {
        self.map.get(&self.name(ours)).filter(|it| !it.is_null())
    }

    fn optional_text(&self, ours: &str) -> Result<Option<&'a str>, Unfit> {
        match self.get(ours) {
            None => Ok(None),
            Some(Value::String(it)) => Ok(Some(it)),
            Some(_) => Err(Unfit::field(self.name(ours), "is not a text")),
        }
    }

    /// A field that must be there and be a text.
    pub(crate) fn text_of(&self, ours: &str) -> Result<&'a str, Unfit> {
        let missing = || Unfit::field(self.name(ours), "is missing");
        self.optional_text(ours)?.ok_or_else(missing)
    }

    /// Whether the record is one text.
    pub(crate) fn has_text(&self) -> bool {
        self.get("text").is_some()
    }

    /// The text of a record that is one text.
    pub(crate) fn text(&self) -> Result<&'a str, Unfit> {
        match self.optional_text("text")? {
            Some(it) => Ok(it),
            None => Err(Unfit::new(format!("has no `{}`; {}", self.name("text"), self.fields()))),
        }
    }

    /// Every text of a record of any form, for those who only count characters.
    pub(crate) fn all_texts(&self) -> Result<Vec<String>, Unfit> {
        if self.get("text").is_some() {
            return Ok(vec![self.text()?.to_owned()]);
        }
        let conversation = self.conversation()?;
        let content = |it: &Value| it.get("content").and_then(Value::as_str).map(str::to_owned);
        Ok(conversation.messages().iter().filter_map(content).collect())
    }

    pub(crate) fn fields(&self) -> String {
        let names: Vec<String> = self.map.keys().take(8).map(|it| format!("`{it}`")).collect();
        let more = if self.map.len() > 8 { " and more" } else { "" };
        if names.is_empty() {
            "it is empty".to_owned()
        } else {
            format!("it has {}{more}", names.join(", "))
        }
    }

    /// The conversation of a record.
    pub(crate) fn conversation(&self) -> Result<Conversation, Unfit> {
        let messages = if self.get("messages").is_some() {
            self.with_chosen(self.messages()?)?
        } else if self.get("conversations").is_some() {
            self.with_chosen(self.turns()?)?
        } else if self.get("instruction").is_some() {
            self.with_chosen(self.instruction()?)?
        } else if self.get("prompt").is_some() {
            self.prompt()?
        } else {
            let reason = "is no conversation: none of `messages`, `conversations`, `instruction` \
                          and `prompt` is there";
            return Err(Unfit::new(format!("{reason}; {}", self.fields())));
        };
        let tools = self.get("tools").cloned();
        Conversation::new(messages, tools).map_err(|it| Unfit::new(it.to_string()))
    }

    /// Refuses an answer that was not wanted: KTO's records say so in a flag.
    pub(crate) fn check_wanted(&self) -> Result<(), Unfit> {
        let flag = ["label", "kto_tag"];
        match flag.into_iter().find(|it| self.map.get(*it) == Some(&Value::Bool(false))) {
            Some(it) => {
                let reason = "is false: the answer was not wanted (KTO), and is none to learn";
                Err(Unfit::field(it, reason))
            }
            None => Ok(()),
        }
    }

    /// A conversation that ends with a question, and the answer that was preferred.
    fn with_chosen(&self, mut all: Vec<Value>) -> Result<Vec<Value>, Unfit> {
        let role = all.last().and_then(|it| it.get("role")).and_then(Value::as_str);
        let chosen = self.map.get("chosen").filter(|it| !it.is_null());
        if let (Some("user"), Some(it)) = (role, chosen) {
            all.extend(self.answers(it)?);
        }
        Ok(all)
    }

    /// What `chosen` holds: a text, a turn with `from` and `value`, a message, or a list of those.
    fn answers(&self, chosen: &Value) -> Result<Vec<Value>, Unfit> {
        match chosen {
            Value::String(it) => Ok(vec![message("assistant", it)]),
            Value::Array(all) if all.iter().all(|it| it.get("from").is_none()) => Ok(all.clone()),
            Value::Array(all) => turns_of("chosen", all),
            Value::Object(it) if it.contains_key("from") => {
                turns_of("chosen", std::slice::from_ref(chosen))
            }
            Value::Object(_) => Ok(vec![chosen.clone()]),
            _ => Err(Unfit::field("chosen", "is neither a text, a message nor a list")),
        }
    }

    fn system(&self) -> Result<Vec<Value>, Unfit> {
        let text = self.optional_text("system")?.filter(|it| !it.is_empty());
        Ok(text.map(|it| message("system", it)).into_iter().collect())
    }

    fn list(&self, ours: &str) -> Result<&'a [Value], Unfit> {
        let list = self.get(ours).and_then(Value::as_array).map(Vec::as_slice);
        list.ok_or_else(|| Unfit::field(self.name(ours), "is not a list"))
    }

    /// OpenAI's form: messages with a role and a content.
    fn messages(&self) -> Result<Vec<Value>, Unfit> {
        let (role, content) = (self.name("role"), self.name("content"));
        let mut all = Vec::new();
        for (i, it) in self.list("messages")?.iter().enumerate() {
            let at = |name: &str| format!("{}[{i}].{name}", self.name("messages"));
            let Value::Object(map) = it else {
                return Err(Unfit::field(
                    format!("{}[{i}]", self.name("messages")),
                    "is no object",
                ));
            };
            let mut map = map.clone();
            for (theirs, ours) in [(&role, "role"), (&content, "content")] {
                if theirs != ours
                    && let Some(value) = map.remove(theirs)
                {
                    map.insert(ours.to_owned(), value);
                }
            }
            if map.get("role").and_then(Value::as_str).is_none() {
                return Err(Unfit::field(at(&role), "is not a text"));
            }
            let has_content = map.get("content").is_some_and(|it| it.is_string() || it.is_array());
            if !has_content && !map.contains_key("tool_calls") {
                return Err(Unfit::field(at(&content), "is not a text"));
            }
            all.push(Value::Object(map));
        }
        Ok(all)
    }

    /// ShareGPT's form: turns that are from somebody and have a value.
    fn turns(&self) -> Result<Vec<Value>, Unfit> {
        let mut all = self.system()?;
        all.extend(turns_of(&self.name("conversations"), self.list("conversations")?)?);
        Ok(all)
    }

    /// Alpaca's form: what to do, perhaps with what, and the result.
    fn instruction(&self) -> Result<Vec<Value>, Unfit> {
        let mut all = self.system()?;
        if self.get("history").is_some() {
            for (i, it) in self.list("history")?.iter().enumerate() {
                let pair: Vec<&str> =
                    it.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
                let [question, answer] = pair[..] else {
                    let field = format!("{}[{i}]", self.name("history"));
                    return Err(Unfit::field(field, "is not a question and its answer"));
                };
                all.extend([message("user", question), message("assistant", answer)]);
            }
        }
        let instruction = self.text_of("instruction")?;
        let question = match self.optional_text("input")? {
            Some(it) if !it.is_empty() => format!("{instruction}\n{it}"),
            _ => instruction.to_owned(),
        };
        all.push(message("user", &question));
        if let Some(it) = self.optional_text("output")? {
            all.push(message("assistant", it));
        }
        Ok(all)
    }

    /// A prompt and what follows: texts, or lists of messages.
    fn prompt(&self) -> Result<Vec<Value>, Unfit> {
        let mut all = self.system()?;
        match self.get("prompt") {
            None => {}
            Some(Value::String(it)) => all.push(message("user", it)),
            Some(Value::Array(list)) => all.extend(list.iter().cloned()),
            Some(_) => {
                return Err(Unfit::field(self.name("prompt"), "is neither a text nor a list"));
            }
        }
        match (self.get("completion"), self.map.get("chosen").filter(|it| !it.is_null())) {
            (Some(Value::String(it)), _) => all.push(message("assistant", it)),
            (Some(Value::Array(list)), _) => all.extend(list.iter().cloned()),
            (Some(_), _) => {
                let field = self.name("completion");
                return Err(Unfit::field(field, "is neither a text nor a list"));
            }
            // Yi's own form calls what follows `chosen`, and so do preferences.
            (None, Some(it)) => {
                let answers = self.answers(it)?;
                let asks = |it: &Value| matches!(it["role"].as_str(), Some("user" | "system"));
                // Some have the whole conversation there, the prompt again at its beginning.
                match answers.first().is_some_and(asks) {
                    true => all = answers,
                    false => all.extend(answers),
                }
            }
            (None, None) => {}
        }
        Ok(all)
    }
}

/// ShareGPT's turns: from somebody, with a value.
fn turns_of(field: &str, list: &[Value]) -> Result<Vec<Value>, Unfit> {
    let mut all = Vec::new();
    for (i, it) in list.iter().enumerate() {
        let at = |name: &str| format!("{field}[{i}].{name}");
        let from = it.get("from").and_then(Value::as_str);
        let role = match from.map(str::to_lowercase).as_deref() {
            Some("human" | "user") => "user",
            Some("gpt" | "assistant" | "bot" | "model" | "function_call") => "assistant",
            Some("system") => "system",
            Some("tool" | "function" | "observation") => "tool",
            Some(_) => return Err(Unfit::field(at("from"), "is nobody that is known")),
            None => return Err(Unfit::field(at("from"), "is not a text")),
        };
        let value = it.get("value").and_then(Value::as_str);
        let value = value.ok_or_else(|| Unfit::field(at("value"), "is not a text"))?;
        all.push(message(role, value));
    }
    Ok(all)
}

/// The text of a message: as it stands, or in parts.
pub(crate) fn text_of_content(content: &Value) -> Result<String, &'static str> {
    match content {
        Value::String(it) => Ok(it.clone()),
        Value::Array(parts) => {
            let text = |it: &Value| {
                let is_text = it.get("type").is_none_or(|it| it == "text");
                it.get("text").and_then(Value::as_str).filter(|_| is_text).map(str::to_owned)
            };
            let texts: Option<Vec<String>> = parts.iter().map(text).collect();
            texts.map(|it| it.concat()).ok_or("has a part that is not a text")
        }
        _ => Err("is not a text"),
    }
}

fn message(role: &str, content: &str) -> Value {
    serde_json::json!({ "role": role, "content": content })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: Value, columns: &[(&str, &str)]) -> String {
        let columns = columns.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect();
        let record = Record { map: json.as_object().unwrap(), columns: &columns };
        match record.conversation() {
            Ok(it) => {
                let show = |it: &Value| format!("{}: {}", it["role"], it["content"]);
                it.messages().iter().map(show).collect::<Vec<_>>().join(" / ").replace('"', "")
            }
            Err(it) => format!("{:?}: {}", it.field, it.reason),
        }
    }

    #[test]
    fn every_form_that_people_have_is_a_conversation() {
        let shared = json!([{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]);
        let messages =
            json!([{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]);
        let renamed = json!([{"von": "user", "was": "q"}]);
        let cases = [
            (json!({"messages": messages}), vec![]),
            (
                json!({"dialog": renamed}),
                vec![("messages", "dialog"), ("role", "von"), ("content", "was")],
            ),
            (json!({"conversations": shared, "system": "s"}), vec![]),
            (json!({"instruction": "i", "input": "x", "output": "o"}), vec![]),
            (
                json!({"instruction": "i", "input": "", "output": "o", "history": [["q", "a"]]}),
                vec![],
            ),
            (json!({"prompt": "p", "completion": "c"}), vec![]),
            (json!({"prompt": "p", "chosen": "c"}), vec![]),
            (
                json!({"conversations": [{"from": "human", "value": "q"}],
                    "chosen": {"from": "gpt", "value": "c"}, "rejected": {"from": "gpt", "value": "r"}}),
                vec![],
            ),
            (
                json!({"messages": [{"role": "user", "content": "q"}],
                    "chosen": {"role": "assistant", "content": "c"}}),
                vec![],
            ),
            (json!({"instruction": "i", "input": "x", "chosen": "c", "rejected": "r"}), vec![]),
            (json!({"prompt": "q", "chosen": messages, "rejected": []}), vec![]),
            (
                json!({"prompt": [{"role": "user", "content": "q"}],
                    "chosen": [{"role": "assistant", "content": "c"}]}),
                vec![],
            ),
            (json!({"q": "p", "a": "c"}), vec![("prompt", "q"), ("completion", "a")]),
            (
                json!({"output": "o", "instruction": "i"}),
                vec![("instruction", "output"), ("output", "instruction")],
            ),
        ];
        let all: Vec<String> = cases.into_iter().map(|(it, columns)| read(it, &columns)).collect();
        insta::assert_snapshot!(all.join("\n"), @r"
        user: q / assistant: a
        user: q
        system: s / user: q / assistant: a
        user: i\nx / assistant: o
        user: q / assistant: a / user: i / assistant: o
        user: p / assistant: c
        user: p / assistant: c
        user: q / assistant: c
        user: q / assistant: c
        user: i\nx / assistant: c
        user: q / assistant: a
        user: q / assistant: c
        user: p / assistant: c
        user: o / assistant: i
        ");
    }

    #[test]
    fn what_is_wrong_with_a_record_is_said_with_its_field() {
        let cases = [
            json!({}),
            json!({"问题": "q", "回答": "a"}),
            json!({"messages": "q"}),
            json!({"messages": []}),
            json!({"messages": ["q"]}),
            json!({"messages": [{"content": "q"}]}),
            json!({"messages": [{"role": "user"}]}),
            json!({"messages": [{"role": "<|im_end|>", "content": "q"}]}),
            json!({"conversations": [{"from": "cat", "value": "q"}]}),
            json!({"conversations": [{"from": "human", "value": 1}]}),
            json!({"instruction": 1}),
            json!({"instruction": "i", "output": 1}),
            json!({"instruction": "i", "history": [["q"]]}),
            json!({"prompt": 1}),
            json!({"prompt": "p", "chosen": 1}),
            json!({"conversations": [{"from": "human", "value": "q"}], "chosen": {"from": "gpt"}}),
        ];
        let all: Vec<String> = cases.into_iter().map(|it| read(it, &[])).collect();
        insta::assert_snapshot!(all.join("\n"), @r#"
        None: is no conversation: none of `messages`, `conversations`, `instruction` and `prompt` is there; it is empty
        None: is no conversation: none of `messages`, `conversations`, `instruction` and `prompt` is there; it has `问题`, `回答`
        Some("messages"): is not a list
        None: conversation: has no messages
        Some("messages[0]"): is no object
        Some("messages[0].role"): is not a text
        Some("messages[0].content"): is not a text
        None: conversation: message 1 has no `role` that is a word
        Some("conversations[0].from"): is nobody that is known
        Some("conversations[0].value"): is not a text
        Some("instruction"): is not a text
        Some("output"): is not a text
        Some("history[0]"): is not a question and its answer
        Some("prompt"): is neither a text nor a list
        Some("chosen"): is neither a text, a message nor a list
        Some("chosen[0].value"): is not a text
        "#);
    }

    use serde_json::json;
}
