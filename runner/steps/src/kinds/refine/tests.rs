//! What `refine` cuts, and what it asks.

use serde_json::Value;

use super::*;
use crate::kinds::label::tests::run;
use crate::kit::Kit;
use crate::model::tests::fixture;

#[test]
fn an_instruction_is_cut_as_python_slices() {
    // tokens[:room], also where room is below 0.
    let cases = [(10, 500, 512, 10), (20, 500, 512, 12), (20, 512, 512, 0), (20, 515, 512, 17)];
    for (n, taken, budget, want) in cases {
        assert_eq!(kept(n, taken, budget), want, "{n} {taken} {budget}");
    }
    assert_eq!(kept(2, 600, 512), 0);
    let tokenizer = Tokenizer::open(&fixture("made")).unwrap();
    let pair = ("rain", "river rain river rain");
    assert_eq!(cut(&tokenizer, pair, 0).unwrap(), pair.1);
    assert_eq!(cut(&tokenizer, pair, 512).unwrap(), pair.1);
    let taken = tokenizer.encode_plain(&format!("rain{COUNTED}")).unwrap().len();
    let first = cut(&tokenizer, pair, taken + 3).unwrap();
    assert!(pair.1.starts_with(&first) && !first.is_empty() && first != pair.1, "{first:?}");
}

#[test]
fn the_question_holds_the_passage_and_the_instruction() {
    let data = "{\"instruction\":\"雨？\",\"output\":\"今天下雨。\"}\n";
    let prompt =
        "{#\nid: p\ninputs: output, instruction\n#}\n{{ output }},请回答:{{ instruction }}\n";
    let with = "max_new_tokens = 4\ntemplate = 'plain'\ntemperature = 0.0";
    let asked = |prompt| {
        let mut kit = Kit::new("refine");
        kit.seed = Some(1);
        run(&mut kit, with, (data, prompt)).unwrap()
    };
    assert_eq!(asked(Some(prompt)), asked(None));
    let it: Value = serde_json::from_str(&asked(None)).unwrap();
    assert_eq!(it["refined_instruction"], "雨？");
    let tokenizer = Tokenizer::open(&fixture("made")).unwrap();
    let n = tokenizer.encode_document("今天下雨。,请回答:雨？").unwrap().len();
    assert_eq!(it["refined_prompt_tokens"], n);
}
