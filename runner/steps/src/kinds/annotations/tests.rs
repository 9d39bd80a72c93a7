//! Studies that were answered by rule, so that every number can be told beforehand.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use annotate::{Did, Draft, Form, Journal, Said, Source, create};
use serde_json::{Value, json};

use crate::kit::Kit;

fn source(kit: &Kit, name: &str, records: &[Value]) -> Source {
    let path = kit.folder.path().join(format!("{name}.jsonl"));
    let text: String = records.iter().map(|it| format!("{it}\n")).collect();
    std::fs::write(&path, text).unwrap();
    Source { name: name.to_owned(), path }
}

/// What somebody answers: from their name, the item's first text, and the two models.
type Rule = dyn Fn(&str, &str, Option<[&str; 2]>) -> Vec<(&'static str, String)>;

/// Has everybody answer everything, or as much as they may.
fn answered(kit: &Kit, draft: &Draft, rule: &Rule, most: usize) -> PathBuf {
    let path = kit.folder.path().join("study.jsonl");
    create(&path, draft).unwrap();
    let mut journal = Journal::open(&path).unwrap();
    let names: Vec<String> = journal.seats().all().iter().map(|it| it.name.clone()).collect();
    for name in names {
        for n in 0..most {
            let seats = journal.seats();
            let Some(place) = seats.next(seats.seat(&name).unwrap()) else { break };
            let unit = &seats.study.units[place.unit];
            let text = &seats.study.items[unit.item].shown[0];
            let pair = unit.pair.as_ref().map(|[a, b]| [a.as_str(), b.as_str()]);
            // Each stands on the left every other time.
            let left = pair.map(|pair| pair[n % 2].to_owned());
            let side = |it: String| match &left {
                Some(left) if pair.is_some_and(|pair| pair.contains(&it.as_str())) => {
                    if left == &it { "left".to_owned() } else { "right".to_owned() }
                }
                _ => it,
            };
            let said = rule(&name, text, pair).into_iter();
            let answers: BTreeMap<String, String> =
                said.map(|(question, it)| (question.to_owned(), side(it))).collect();
            let did = Said {
                annotator: name.clone(),
                unit: unit.id.clone(),
                round: place.round,
                left: left.clone(),
                answers: (!answers.is_empty()).then_some(answers),
                note: String::new(),
                ms: 1000 + n as u64,
                at: 0,
            };
            journal.record(Did::Said(did)).unwrap().unwrap();
        }
    }
    path
}

fn run(kit: &mut Kit, with: &str, study: PathBuf) -> Result<BTreeMap<String, Vec<Value>>, String> {
    let folder = format!("{}/", kit.folder.path().display());
    let spec = crate::kind("annotations").unwrap().spec();
    let out = kit.run_at(with, &[("study", vec![study])]);
    let out = out.map_err(|it| it.to_string().replace(&folder, ""))?;
    let lines = |text: &String| match serde_json::from_str(text) {
        Ok(it) => vec![it],
        Err(_) => text.lines().map(|it| serde_json::from_str(it).unwrap()).collect(),
    };
    Ok(spec.outputs.iter().zip(&out).map(|(it, text)| (it.name.to_owned(), lines(text))).collect())
}

fn people(n: usize) -> Vec<String> {
    ["ana", "bo", "chen"][..n].iter().map(|it| (*it).to_owned()).collect()
}

/// Ten items of two sources; `bo` fails two of the first source, `chen` passes one of these.
fn quality(kit: &Kit, adjudicator: bool, most: usize) -> PathBuf {
    let record = |i| json!({ "instruction": format!("{i}"), "output": "o" });
    let of = |range: std::ops::Range<usize>| range.map(record).collect::<Vec<Value>>();
    let sources = vec![source(kit, "wudao", &of(0..6)), source(kit, "skypile", &of(6..10))];
    let mut draft = Draft::new(Form::built_in("quality").unwrap(), sources, people(3));
    draft.head.repeats = 0.1;
    draft.head.adjudicator = adjudicator.then(|| "eve".to_owned());
    let rule = |name: &str, text: &str, _: Option<[&str; 2]>| {
        let output = match (name, text) {
            ("bo", "0" | "1") | ("eve", _) => "fail",
            ("chen", "0") => "pass",
            _ => "excellent",
        };
        let yes = ["clarity", "feasibility", "practicality"].map(|it| (it, "yes".to_owned()));
        yes.into_iter().chain([("output", output.to_owned())]).collect()
    };
    answered(kit, &draft, &rule, most)
}

fn row<'a>(rows: &'a [Value], group: Value, name: &str) -> &'a Value {
    rows.iter().find(|it| it["group"] == group && it["name"] == name).unwrap()
}

#[test]
fn ratings_are_pooled_and_agreement_is_counted_by_item() {
    let mut kit = Kit::new("annotations");
    let study = quality(&kit, false, usize::MAX);
    let out = run(&mut kit, "", study).unwrap();
    // 3 people × (10 items + 1 repeat).
    assert_eq!((out["ratings"].len(), &out["metrics"][0]["votes"]), (33, &json!(33)));
    let share = |group: Value, name: &str| row(&out["table"], group, name)["share"].clone();
    assert_eq!(share(Value::Null, "output excellent"), 0.9);
    assert_eq!(share(json!("wudao"), "output excellent"), 0.833_333);
    assert_eq!(share(json!("wudao"), "output fail"), 0.111_111);
    assert_eq!(share(json!("skypile"), "clarity yes"), 1.0);
    assert_eq!(row(&out["table"], Value::Null, "output pass")["n"], 30);
    let all = row(&out["agreement"], Value::Null, "output");
    // Item 0 has three answers, item 1 two and one, eight have three alike. By hand:
    // observed (0 + 2 + 8·6) / (10·3·2) = 0.8333; expected 0.9² + (2/30)² + (1/30)² = 0.815556;
    // kappa 0.096386. Krippendorff: 1 − (3 + 2) / ((900 − 27² − 2² − 1²) / 29) = 0.126506.
    assert_eq!((&all["all_same"], &all["some_same"]), (&json!(0.8), &json!(0.1)));
    assert_eq!(all["all_different"], 0.1);
    assert_eq!((&all["kappa"], &all["alpha"]), (&json!(0.096_386), &json!(0.126_506)));
    assert_eq!(row(&out["agreement"], json!("skypile"), "output")["kappa"], Value::Null);
    let bo = out["annotators"].iter().find(|it| it["annotator"] == "bo").unwrap();
    // The others differ about item 0: there is no most.
    assert_eq!(
        (&bo["votes"], &bo["as_before"], &bo["median_ms"]),
        (&json!(11), &json!(1.0), &json!(1005))
    );
    assert_eq!(bo["as_most_others"], 0.974_359);
    let first = out["items"].iter().find(|it| it["shown"][0] == "0").unwrap();
    assert_eq!((&first["disputed"], &first["answers"]["output"]), (&json!(true), &Value::Null));
    assert!(out["wins"].is_empty() && out["ranking"].is_empty());
}

#[test]
fn an_adjudicator_settles_and_counts_in_no_share() {
    let mut kit = Kit::new("annotations");
    let study = quality(&kit, true, usize::MAX);
    let out = run(&mut kit, "", study).unwrap();
    assert_eq!(row(&out["table"], Value::Null, "output excellent")["share"], 0.9);
    let first = out["items"].iter().find(|it| it["shown"][0] == "1").unwrap();
    assert_eq!((&first["settled"], &first["answers"]["output"]), (&json!(true), &json!("fail")));
    assert_eq!(out["items"].iter().filter(|it| it["settled"] == true).count(), 2);
}

#[test]
fn a_study_that_is_not_done_is_refused_unless_it_is_asked_for() {
    let mut kit = Kit::new("annotations");
    let study = quality(&kit, false, 4);
    let mut error = |with: &str| run(&mut kit, with, study.clone()).unwrap_err();
    insta::assert_snapshot!(error(""), @"study.jsonl:1: not everybody is done; to do: `ana` 7, `bo` 7, `chen` 7");
    assert!(error("min_votes = 3").starts_with("study.jsonl:1: "));
    assert!(error("min_votes = 3").ends_with(" of 10 have fewer than 3 votes"));
    insta::assert_snapshot!(error("min_votes = 0\nquestion = 'x'"), @"parameters of `annotations`: `question`: the study does not ask `x`");
    let out = run(&mut kit, "min_votes = 0", study.clone()).unwrap();
    assert_eq!(out["ratings"].len(), 12);
    std::fs::write(&study, "{}\n").unwrap();
    let error = run(&mut kit, "", study).unwrap_err();
    assert!(error.starts_with("study.jsonl:1: missing field"), "{error}");
}

#[test]
fn models_are_ranked_and_leanings_are_shown() {
    let mut kit = Kit::new("annotations");
    let of = |name: &str, word: &str| {
        let record = |i| json!({ "instruction": format!("{i}"), "output": format!("{word}{i}") });
        source(&kit, name, &(0..12).map(record).collect::<Vec<_>>())
    };
    // The longer the answer, the better for `ana`; `bo` cannot tell.
    let sources = vec![of("short", ""), of("middle", "xx"), of("long", "xxxx")];
    let mut draft = Draft::new(Form::built_in("pairwise-ties").unwrap(), sources, people(2));
    draft.head.raters = 2;
    let rule = |name: &str, text: &str, pair: Option<[&str; 2]>| {
        let pair = pair.unwrap();
        let best = ["long", "middle"].into_iter().find(|it| pair.contains(it)).unwrap();
        let other = if pair[0] == best { pair[1] } else { pair[0] };
        let said = match (name, text) {
            ("bo", _) => "tie",
            (_, "3" | "7") => other,
            _ => best,
        };
        vec![("better", said.to_owned())]
    };
    let study = answered(&kit, &draft, &rule, usize::MAX);
    let out = run(&mut kit, "", study).unwrap();
    let order: Vec<&Value> = out["ranking"].iter().map(|it| &it["model"]).collect();
    assert_eq!(order, ["long", "middle", "short"]);
    let it = row(&out["wins"], json!("long"), "short");
    assert_eq!((&it["wins"], &it["losses"], &it["ties"]), (&json!(10), &json!(2), &json!(12)));
    assert_eq!((&it["share"], &it["adjusted"]), (&json!(0.833_333), &json!(0.666_667)));
    let all = row(&out["wins"], Value::Null, "middle");
    assert_eq!(
        (&all["wins"], &all["losses"], &all["share"]),
        (&json!(12), &json!(12), &json!(0.5))
    );
    assert_eq!(out["wins"].len(), 3 + 6);
    let ana = &out["annotators"][0];
    assert_eq!((&ana["longer"], &ana["ties"]), (&json!(0.833_333), &json!(0.0)));
    assert_eq!(
        (&out["annotators"][1]["ties"], &out["annotators"][1]["left"]),
        (&json!(1.0), &Value::Null)
    );
    assert!(out["table"].is_empty(), "a share of left sides says nothing of data");
    assert_eq!(row(&out["agreement"], Value::Null, "better")["all_same"], 0.0);
}

/// Votes about every unit of a study by somebody without a seat: the model that comes last, or the other.
fn votes(kit: &Kit, study: &Path, by: &[(&str, &str, bool)]) -> PathBuf {
    let units = Journal::seen(study).unwrap().study.units;
    let mut text = String::new();
    for (annotator, by, last) in by {
        for it in &units {
            let better = &it.pair.as_ref().unwrap()[usize::from(*last)];
            let answers = json!({ "better": better });
            text += &json!({ "annotator": annotator, "by": by, "unit": it.id, "answers": answers })
                .to_string();
            text.push('\n');
        }
    }
    let path = kit.folder.path().join("votes.jsonl");
    std::fs::write(&path, text).unwrap();
    path
}

/// Two models over six prompts; nobody has said anything.
fn two_models(kit: &Kit) -> PathBuf {
    let of = |name: &str| {
        let record = |i| json!({ "instruction": format!("{i}"), "output": format!("{name}{i}") });
        source(kit, name, &(0..6).map(record).collect::<Vec<_>>())
    };
    let sources = vec![of("a"), of("b")];
    let mut draft = Draft::new(Form::built_in("pairwise-ties").unwrap(), sources, people(1));
    draft.head.raters = 1;
    answered(kit, &draft, &|_, _, _| Vec::new(), 0)
}

fn with_votes(
    kit: &mut Kit,
    with: &str,
    files: (PathBuf, PathBuf),
) -> Result<Vec<Vec<Value>>, String> {
    let inputs = [("study", vec![files.0]), ("votes", vec![files.1])];
    let out = kit.run_at(with, &inputs).map_err(|it| it.to_string())?;
    let rows =
        |text: &String| text.lines().filter_map(|it| serde_json::from_str(it).ok()).collect();
    Ok(out.iter().map(rows).collect())
}

#[test]
fn a_model_never_counts_among_people_and_stands_beside_them() {
    let mut kit = Kit::new("annotations");
    let study = two_models(&kit);
    let all = [("far", "person", true), ("near", "person", true), ("judge", "model", false)];
    let files = (study.clone(), votes(&kit, &study, &all));
    let out = with_votes(&mut kit, "min_votes = 2", files).unwrap();
    let [_, ratings, items, _, agreement, wins, ranking, annotators, judges] = &out[..] else {
        panic!()
    };
    assert_eq!((ratings.len(), items.len()), (18, 6));
    assert_eq!(items[0]["answers"]["better"], "b");
    assert_eq!(items[0]["judged"]["judge"]["better"], "a");
    let of = |by: &str| ranking.iter().find(|it| it["by"] == by && it["place"] == 1).unwrap();
    assert_eq!((&of("person")["model"], &of("person")["votes"]), (&json!("b"), &json!(12)));
    assert_eq!((&of("model")["model"], &of("model")["judge"]), (&json!("a"), &json!("judge")));
    assert!(wins.iter().filter(|it| it["by"] == "person").all(|it| it["n"] == 12));
    // All say the same of the pair, and the model's votes are not among them.
    assert_eq!((&agreement[1]["group"], &agreement[1]["all_same"]), (&json!("a / b"), &json!(1.0)));
    assert!(agreement.iter().all(|it| it["by"] == "person"));
    assert_eq!((&judges[0]["n"], &judges[0]["as_most"]), (&json!(6), &json!(0.0)));
    assert_eq!(annotators.len(), 1 + 3);
    let far = annotators.iter().find(|it| it["annotator"] == "far").unwrap();
    // Nobody knows how long it took, or where the answers stood.
    assert_eq!(
        (&far["median_ms"], &far["left"], &far["asked"]),
        (&Value::Null, &Value::Null, &Value::Null)
    );
    assert_eq!((&far["decided"], &far["longer"]), (&json!(6), &Value::Null));
}

#[test]
fn simulated_votes_are_named_so_and_are_not_taken_with_people() {
    let mut kit = Kit::new("annotations");
    let study = two_models(&kit);
    let files = (study.clone(), votes(&kit, &study, &[("s1", "simulated", true)]));
    let out = with_votes(&mut kit, "min_votes = 1", files).unwrap();
    assert!(out[6].iter().all(|it| it["by"] == "simulated" && it["judge"].is_null()));
    let both = [("s1", "simulated", true), ("far", "person", true)];
    let files = (study.clone(), votes(&kit, &study, &both));
    let error = with_votes(&mut kit, "min_votes = 1", files).unwrap_err();
    assert!(
        error.ends_with("votes of people and simulated ones cannot be counted together"),
        "{error}"
    );
    let files = (study.clone(), votes(&kit, &study, &[("judge", "model", true)]));
    let out = with_votes(&mut kit, "min_votes = 0", files).unwrap();
    assert!(out[4].is_empty() && out[5].iter().all(|it| it["by"] == "model"));
}
