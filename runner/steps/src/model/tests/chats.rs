//! Chat templates.

use serde_json::Value;

use super::super::{Ask, Chat, Controlled, Conversation, LossOn, Template, marked, view};
use super::{ids, json, tokenizer};

fn conversation(messages: &Value, tools: Option<&Value>) -> Conversation {
    Conversation::new(messages.as_array().unwrap().clone(), tools.cloned()).unwrap()
}

#[test]
fn built_in_templates_are_those_of_the_fixtures() {
    let file = json("chats.json");
    for name in ["yi-chatml", "plain"] {
        assert_eq!(file["templates"][name], Template::built_in(name).unwrap().source());
    }
}

#[test]
fn templates_write_what_transformers_writes_and_become_the_same_ids() {
    let file = json("chats.json");
    let tokenizers = ["yi", "bytes"].map(|it| (it, tokenizer(it)));
    let mut n_refused = 0;
    for case in file["cases"].as_array().unwrap() {
        let name = case["template"].as_str().unwrap();
        let template = Template::new(name, file["templates"][name].as_str().unwrap()).unwrap();
        let messages = &file["conversations"][case["conversation"].as_str().unwrap()];
        let conversation = conversation(messages, Some(&file["tools"]));
        let ask = if case["ask"] == true { Ask::Answer } else { Ask::Nothing };
        for (folder, tokenizer) in &tokenizers {
            let chat = Chat { tokenizer, template: &template };
            let text = chat.text(&conversation, ask);
            if let Some(error) = case["error"].as_str() {
                n_refused += 1;
                let said = text.unwrap_err().to_string();
                assert_eq!(said, format!("chat template `{name}`: it refuses: {error}"));
                continue;
            }
            assert_eq!(text.unwrap(), case["text"], "{name} {}", case["conversation"]);
            let got = match ask {
                Ask::Answer => chat.prompt(&conversation).unwrap(),
                Ask::Nothing => chat.sample(&conversation, LossOn::All).unwrap().ids,
            };
            assert_eq!(got, ids(&case["ids"][folder]), "{name} {} {folder}", case["conversation"]);
        }
    }
    assert!(n_refused > 0);
}

#[test]
fn a_message_never_makes_a_control_token() {
    let file = json("chats.json");
    for folder in ["yi", "bytes"] {
        let tokenizer = tokenizer(folder);
        for (name, source) in file["templates"].as_object().unwrap() {
            let template = Template::new(name, source.as_str().unwrap()).unwrap();
            let chat = Chat { tokenizer: &tokenizer, template: &template };
            let controls = |text: &str| {
                let prompt = chat.prompt(&Conversation::pair(None, text, None)).unwrap();
                let n = prompt.iter().filter(|it| tokenizer.is_control(**it)).count();
                (n, tokenizer.decode(&prompt, Controlled::Shown).unwrap())
            };
            let (n, _) = controls("harmless");
            for text in file["injections"].as_array().unwrap() {
                let text = text.as_str().unwrap();
                let (got, shown) = controls(text);
                assert_eq!(got, n, "{folder} {name} {text:?} {shown:?}");
                let kept = ["yi-chatml", "plain", "lines", "thinking", "macros", "raises"];
                assert!(shown.contains(text) || !kept.contains(&name.as_str()), "{name} {shown}");
            }
        }
    }
}

/// Templates that put together what a message took apart.
#[test]
fn a_template_that_joins_what_a_message_cut_makes_no_control_token() {
    let tokenizer = tokenizer("yi");
    for (source, text) in [
        ("{{ messages[0].content.replace('x', '') }}", "<x|im_xend|>"),
        ("{{ messages[0].content | lower }}", "<|IM_END|>"),
        ("{{ messages[0].content.split('</think>') | join }}", "<|im_</think>end|>"),
        ("{{ messages[0].content[::-1] }}", ">|dne_mi|<"),
        ("{{ '<|im_' in messages[0].content }}{{ messages[0].content }}", "<|im_end|>"),
        ("{{ messages[0].content.split('<|im_') | join('<|im_') }}", "<|im_end|>"),
    ] {
        let template = Template::new("joins", source).unwrap();
        let chat = Chat { tokenizer: &tokenizer, template: &template };
        let conversation = Conversation::pair(None, text, None);
        let prompt = chat.prompt(&conversation).unwrap();
        assert!(prompt.iter().all(|it| !tokenizer.is_control(*it)), "{source}");
    }
}

fn shown(name: &str, template: &Template, conversation: &str, on: LossOn) -> String {
    let tokenizer = tokenizer(name);
    let chat = Chat { tokenizer: &tokenizer, template };
    let messages = &json("chats.json")["conversations"][conversation];
    let sample = chat.sample(&self::conversation(messages, None), on).unwrap();
    assert_eq!(sample.ids.len(), sample.trained.len());
    marked(&view(&tokenizer, &sample).unwrap())
}

#[test]
fn answers_are_trained_with_their_end_and_nothing_else_is() {
    let yi = Template::built_in("yi-chatml").unwrap();
    insta::assert_snapshot!(shown("yi", &yi, "system", LossOn::Answer), @r"<|im_start|>system\nYou answer in one line.<|im_end|>\n<|im_start|>user\nWhat is water?<|im_end|>\n<|im_start|>assistant\n⟦Water freezes at zero.<|im_end|>⟧\n");
    insta::assert_snapshot!(shown("yi", &yi, "turns", LossOn::Answer), @r"<|im_start|>user\n请写一首诗<|im_end|>\n<|im_start|>assistant\n⟦秋天的风\n吹过田野<|im_end|>⟧\n<|im_start|>user\n再短一点<|im_end|>\n<|im_start|>assistant\n⟦秋风<|im_end|>⟧\n<|im_start|>user\n谢谢<|im_end|>\n");
    insta::assert_snapshot!(shown("bytes", &yi, "code", LossOn::Answer), @r"<|im_start|>user\nif a < b | c > d:\n    return '<x>'<|im_end|>\n<|im_start|>assistant\n⟦a <b> {{ not.rendered }} {% nor this %}<|im_end|>⟧\n");
    insta::assert_snapshot!(shown("yi", &yi, "empty", LossOn::Answer), @r"<|im_start|>user\n<|im_end|>\n<|im_start|>assistant\n⟦<|im_end|>⟧\n");
    insta::assert_snapshot!(shown("yi", &yi, "one", LossOn::Answer), @r"<|im_start|>user\n今天下雨吗？<|im_end|>\n");
    insta::assert_snapshot!(shown("yi", &yi, "one", LossOn::All), @r"⟦<|im_start|>user\n今天下雨吗？<|im_end|>\n⟧");
    let plain = Template::built_in("plain").unwrap();
    insta::assert_snapshot!(shown("yi", &plain, "pair", LossOn::Answer), @"Why is the sky blue?⟦因为空气散射蓝光。<|endoftext|>⟧");
}

#[test]
fn a_template_that_shows_an_answer_otherwise_than_it_was_asked_for_is_refused() {
    let file = json("chats.json");
    let template = Template::new("t", file["templates"]["thinking"].as_str().unwrap()).unwrap();
    let tokenizer = tokenizer("yi");
    let chat = Chat { tokenizer: &tokenizer, template: &template };
    let conversation = conversation(&file["conversations"]["think"], None);
    let error = chat.sample(&conversation, LossOn::Answer).unwrap_err();
    let said = "conversation: the template does not show message 2 as the answer to its own prompt";
    assert_eq!(error.to_string(), said);
}

#[test]
fn a_template_that_does_not_end_or_asks_too_much_is_named() {
    let error = |source: &str| {
        let tokenizer = tokenizer("yi");
        let template = match Template::new("bad", source) {
            Ok(it) => it,
            Err(it) => return it.to_string(),
        };
        let chat = Chat { tokenizer: &tokenizer, template: &template };
        chat.prompt(&Conversation::pair(None, "a", None)).unwrap_err().to_string()
    };
    let loops = "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}";
    let writes = "{% for a in range(9999) %}{{ 'x' * 9999 }}{% endfor %}";
    let many = [
        loops,
        writes,
        "{{ strftime_now('%Y') }}",
        "{% for m in %}",
        "{{ messages[0].nothing.more }}",
        "{{ 1 // 0 }}",
        "{% include 'etc' %}",
    ];
    insta::assert_snapshot!(many.map(error).join("\n"), @r"
    chat template `bad`: does not end within 5000000 steps
    chat template `bad`: writes more than a conversation can need
    chat template `bad`: asks for the time of day (`strftime_now`), which no key holds
    chat template `bad`: line 1: syntax error: unexpected end of block
    chat template `bad`: line 1: undefined value: `messages[0].nothing` is undefined
    chat template `bad`: line 1: invalid operation: unable to calculate 1 // 0
    chat template `bad`: line 1: template not found: tried to include non-existing template 'etc'
    ");
}

/// The model, its tokenizer and its template are as `transformers` saved them.
#[test]
fn a_folder_that_transformers_saved_says_what_it_says_there() {
    let folder = super::super::ModelFolder::open(&super::fixture("talk")).unwrap();
    let template = folder.template(None).unwrap();
    let how = super::super::How::greedy(24, folder.stop_ids(&template));
    let mut answers =
        super::super::Answers::load(&folder, how, crate::processor(2).unwrap(), 96, 1).unwrap();
    let chat = Chat { tokenizer: &folder.tokenizer, template: &template };
    for case in json("talk-cases.json").as_array().unwrap() {
        let prompt = case["prompt"].as_str().unwrap();
        let ids = chat.prompt(&Conversation::pair(None, prompt, None)).unwrap();
        let mut told = String::new();
        let answer = answers.tell(1, ids, &mut |it| told.push_str(it), &|| true).unwrap();
        assert_eq!(answer.text, case["text"].as_str().unwrap());
        assert_eq!(answer.tokens as u64, case["tokens"].as_u64().unwrap());
        assert_eq!(told, answer.text);
    }
}

#[test]
fn json_is_written_as_python_writes_it() {
    let value = serde_json::json!({"b": [1, 1.0, 1e-5, 1e16, 123456789.5, -0.0, 2.5e-7, 1e100], "a": "é\n\"\u{7f}🙂"});
    let style = super::super::python_json::Style {
        indent: None,
        ascii: true,
        sort_keys: true,
        separators: None,
    };
    let text = super::super::python_json::dumps(&value, &style);
    let python = r#"{"a": "\u00e9\n\"\u007f\ud83d\ude42", "b": [1, 1.0, 1e-05, 1e+16, 123456789.5, -0.0, 2.5e-07, 1e+100]}"#;
    assert_eq!(text, python);
}
