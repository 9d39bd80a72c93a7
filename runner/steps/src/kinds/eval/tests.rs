//! What `eval` promises: losses are those of whole texts, whatever is computed together.

use std::path::PathBuf;

use kernels::score::Text;
use serde_json::Value;

use super::*;
use crate::kinds::generate::tests::model_with_room;
use crate::kit::Kit;

/// An exam of two subjects with `n` questions each and two with answers, and a tiny model.
fn room(kit: &Kit, n: usize) -> Vec<(&'static str, Vec<PathBuf>)> {
    let exam = kit.folder.path().join("exam");
    let table = r#"[{"key":"rain","zh":"雨","categories":["sky"]},
        {"key":"law","zh":"法","categories":["people","hard"]}]"#;
    for (split, n) in [("dev", 2), ("val", n)] {
        std::fs::create_dir_all(exam.join(split)).unwrap();
        for key in ["rain", "law"] {
            let row = |i: usize| {
                let letter = LETTERS[i % 4];
                format!("{i},{key} {split} {i}?,{i},today,今天,rain {i},{letter}\n")
            };
            let rows: String = (0..n).map(row).collect();
            let path = exam.join(split).join(format!("{key}_{split}.csv"));
            std::fs::write(path, format!("id,question,A,B,C,D,answer\n{rows}")).unwrap();
        }
    }
    std::fs::write(exam.join("subjects.json"), table).unwrap();
    vec![("model", vec![model_with_room(kit.folder.path(), 512)]), ("exam", vec![exam])]
}

fn run(kit: &mut Kit, with: &str, n: usize) -> Result<Vec<String>, StepError> {
    let inputs = room(kit, n);
    kit.run_at(&format!("shape = \"ceval\"\nshots = 2\nmax_new_tokens = 6\n{with}"), &inputs)
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|it| serde_json::from_str(it).unwrap()).collect()
}

const WAYS: [&str; 6] = [
    "",
    "template = \"yi-chatml\"",
    "mode = \"gen\"",
    "mode = \"gen\"\ntemplate = \"yi-chatml\"",
    "preset = \"lm_eval\"",
    "preset = \"cloze\"\ntemplate = \"yi-chatml\"",
];

#[test]
fn answers_do_not_depend_on_threads_or_on_being_stopped() {
    for with in WAYS {
        let whole = run(&mut Kit::new("eval"), with, 5).unwrap();
        assert_eq!(whole[2].lines().count(), 10, "{with}");
        let mut kit = Kit::new("eval");
        kit.threads = 2;
        assert_eq!(run(&mut kit, with, 5).unwrap(), whole, "{with}");
        let mut kit = Kit::new("eval");
        // In the second subject.
        kit.stop_after = 7;
        assert!(matches!(run(&mut kit, with, 5), Err(StepError::Stopped)));
        kit.stop_after = usize::MAX;
        assert_eq!(run(&mut kit, with, 5).unwrap(), whole, "{with}");
    }
}

#[test]
fn a_question_more_changes_nothing_of_the_others() {
    let few = run(&mut Kit::new("eval"), "", 3).unwrap();
    let many = run(&mut Kit::new("eval"), "", 5).unwrap();
    let (few, many) = (lines(&few[2]), lines(&many[2]));
    assert_eq!(few[..3], many[..3]);
    assert_eq!(few[3..], many[5..8]);
}

#[test]
fn the_loss_of_a_text_in_parts_is_that_of_the_whole() {
    let kit = Kit::new("eval");
    let inputs = room(&kit, 4);
    let folder = ModelFolder::open(&inputs[0].1[0]).unwrap();
    let wanted = Wanted { shape: Shape::Ceval, split: "val", shots: 2, subjects: &[] };
    let sheets = sheets(&inputs[1].1[0], &wanted).unwrap();
    for template in [None, Some("yi-chatml")] {
        let manner = Manner { preset: Preset::Opencompass, written: false, template, room: 512 };
        let asker = Asker::new(&folder, &manner).unwrap();
        let writer = Writer { shape: Shape::Ceval, sheet: &sheets[0], shots: 2 };
        let asked: Vec<Asked> =
            sheets[0].questions.iter().map(|it| asker.ask(writer, it).unwrap()).collect();
        let scorer = || {
            let model = Model::load(
                Arc::new(crate::processor(1).unwrap()),
                &folder.config,
                &folder.weights().unwrap(),
                512,
            );
            let model = model.unwrap();
            let settings = model::settings(&model, 8).unwrap();
            Scorer::new(Arc::new(model), settings).unwrap()
        };
        let found = losses::of_wholes(&mut scorer(), &asked).unwrap();
        for (asked, found) in asked.iter().zip(found) {
            let text =
                |it: &Vec<u32>| Text { prompt: Vec::new(), ids: [&asked.stem[..], it].concat() };
            let texts: Vec<Text> = asked.tails.iter().map(text).collect();
            let alone = scorer().texts(&texts).unwrap();
            let want = std::array::from_fn(|i| alone[i].opencompass());
            assert_eq!(found, Found::Losses(want));
        }
    }
}

#[test]
fn questions_that_are_shown_make_room_from_the_end() {
    let mut kit = Kit::new("eval");
    let out = run(&mut kit, "max_seq_len = 200", 2).unwrap();
    let shots: Vec<u64> = lines(&out[2]).iter().map(|it| it["shots"].as_u64().unwrap()).collect();
    assert!(shots.iter().all(|it| *it < 2), "{shots:?}");
    let error = run(&mut kit, "max_seq_len = 30", 2).unwrap_err().to_string();
    assert!(error.contains("question 1: has") && error.contains("there is room for 30"), "{error}");
}

#[test]
fn counts_come_by_subject_and_group() {
    let out = run(&mut Kit::new("eval"), "mode = \"gen\"", 4).unwrap();
    let metrics: Value = serde_json::from_str(&out[0]).unwrap();
    assert_eq!((&metrics["questions"], &metrics["hard_questions"]), (&8.into(), &4.into()));
    let subjects = lines(&out[1]);
    assert_eq!((&subjects[1]["subject"], &subjects[1]["n"]), (&"law".into(), &4.into()));
    let right = lines(&out[2]).iter().filter(|it| it["right"] == true).count();
    let counted: u64 = subjects.iter().map(|it| it["right"].as_u64().unwrap()).sum();
    assert_eq!(counted, right as u64);
}

#[test]
fn of_equal_losses_the_first_letter_counts_and_of_a_text_the_first_capital() {
    assert_eq!(Found::Losses([1.0, 0.5, 0.5, 2.0]).letter().as_deref(), Some("B"));
    assert_eq!(Found::Text("选 b，C".to_owned()).letter().as_deref(), Some("C"));
    assert_eq!(Found::Text("Ⅷ".to_owned()).letter().as_deref(), Some("Ⅷ"));
    assert_eq!(Found::Text("不知道".to_owned()).letter(), None);
}

#[test]
fn a_subject_that_is_missing_fails_the_step() {
    let mut kit = Kit::new("eval");
    let error = run(&mut kit, "split = \"test\"", 1).unwrap_err().to_string();
    assert!(error.contains("exam/test/rain_test.csv"), "{error}");
    let error = run(&mut kit, "subjects = [\"snow\"]", 1).unwrap_err().to_string();
    insta::assert_snapshot!(error, @"parameters of `eval`: `subjects` names `snow`, which the table of subjects does not have");
}

/// The exam of `tests/oracle/exam.py`, its files named as the shape has them.
fn oracle(kit: &Kit, shape: &str) -> Vec<(&'static str, Vec<PathBuf>)> {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/oracle/fixtures/exam");
    let exam = kit.folder.path().join("exam");
    std::fs::create_dir_all(&exam).unwrap();
    std::fs::copy(fixture.join("exam/subjects.json"), exam.join("subjects.json")).unwrap();
    for split in ["dev", "val"] {
        std::fs::create_dir_all(exam.join(split)).unwrap();
        for key in ["rain", "law"] {
            let name = format!("{key}_{split}.csv");
            let ours = if shape == "ceval" { name.clone() } else { format!("{key}.csv") };
            let from = fixture.join("exam").join(split).join(name);
            std::fs::copy(from, exam.join(split).join(ours)).unwrap();
        }
    }
    vec![("model", vec![fixture.join("model")]), ("exam", vec![exam])]
}

#[test]
fn every_question_is_answered_as_transformers_answers_it() {
    let answers = include_str!("../../../../../tests/oracle/fixtures/exam/answers.json");
    let answers: Value = serde_json::from_str(answers).unwrap();
    for shape in ["ceval", "cmmlu"] {
        for (name, with) in [
            ("ppl_base", ""),
            ("ppl_chat", "template = \"yi-chatml\""),
            ("lm_eval", "preset = \"lm_eval\""),
            ("gen_base", "mode = \"gen\"\nmax_new_tokens = 24"),
            ("gen_chat", "mode = \"gen\"\nmax_new_tokens = 24\ntemplate = \"yi-chatml\""),
        ] {
            let mut kit = Kit::new("eval");
            let inputs = oracle(&kit, shape);
            let with = format!("shape = \"{shape}\"\nsplit = \"val\"\n{with}");
            let out = kit.run_at(&with, &inputs).unwrap();
            let found = lines(&out[2]);
            assert_eq!(found.len(), 24);
            for (found, want) in found.iter().zip(answers[shape].as_array().unwrap()) {
                assert_eq!((&found["id"], &found["shots"]), (&want["id"], &5.into()));
                if name.starts_with("gen") {
                    assert_eq!(found["text"], want[name], "{shape} {name} {}", want["id"]);
                    continue;
                }
                let losses = |it: &Value| -> Vec<f64> {
                    it.as_array().unwrap().iter().map(|it| it.as_f64().unwrap()).collect()
                };
                let (found_losses, want) = (losses(&found["losses"]), losses(&want[name]));
                for (it, want) in found_losses.iter().zip(&want) {
                    assert!((it - want).abs() < 1e-4, "{shape} {name}: {it} {want}");
                }
                let least = (0..4).reduce(|a, b| if want[b] < want[a] { b } else { a }).unwrap();
                assert_eq!(found["prediction"], LETTERS[least], "{shape} {name} {}", found["id"]);
            }
        }
    }
}

#[test]
fn questions_that_were_trained_on_are_flagged() {
    let mut kit = Kit::new("eval");
    let exam = kit.folder.path().join("long");
    std::fs::create_dir_all(exam.join("val")).unwrap();
    let table = r#"[{"key":"law","zh":"法","categories":["people"]}]"#;
    std::fs::write(exam.join("subjects.json"), table).unwrap();
    let csv = "id,question,A,B,C,D,answer\n\
        0,雨后的河水为什么会变得又急又浑，请选出正确的一项,w,x,y,z,A\n\
        1,雨后的河水为什么会变得又急，而山上的石头从来不会动,w,x,y,z,B\n\
        2,短题,这里有足够长的,选项文字,一二三,四五六,C\n";
    std::fs::write(exam.join("val/law_val.csv"), csv).unwrap();
    let training = kit.folder.path().join("training.jsonl");
    let text = "{\"instruction\":\"问：雨后的河水为什么会变得又急又浑,请选出正确的一项。\",\"n\":[1,null]}\n\
        短题这里有足够长的选项文字一二三四五六\n";
    std::fs::write(&training, text).unwrap();
    let model = model_with_room(kit.folder.path(), 512);
    let inputs = [("model", vec![model]), ("exam", vec![exam]), ("training", vec![training])];
    let out = kit.run_at("shape = \"ceval\"\nshots = 0", &inputs).unwrap();
    let seen: Vec<Value> = lines(&out[2]).iter().map(|it| it["seen"].clone()).collect();
    assert_eq!(seen, [true, false, true]);
    assert_eq!(lines(&out[1])[0]["seen"], 2);
    let metrics: Value = serde_json::from_str(&out[0]).unwrap();
    assert_eq!(metrics["seen"], 2);
    let right = lines(&out[2])[1]["right"] == true;
    assert_eq!(metrics["accuracy_of_unseen_questions"], f64::from(u8::from(right)));
    let without = kit.run_at("shape = \"ceval\"\nshots = 0", &inputs[..2]).unwrap();
    assert!(!without.concat().contains("seen"));
}
