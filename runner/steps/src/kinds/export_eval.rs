//! `export_eval`: an exam's results as lm-evaluation-harness writes them, for tools that read those.
//!
//! ```toml
//! [steps.ceval_files]
//! op   = "export_eval"
//! in   = { predictions = "${steps.ceval.predictions}", subjects = "${steps.ceval.subjects}" }
//! with = { task = "ceval-valid", shots = 5 }
//! ```
//!
//! `folder` holds `results.json` and a file `samples_TASK_SUBJECT.jsonl` for each subject.
//!
//! `results.json` has under `results`, for each task `TASK_SUBJECT` and for `TASK`, all of them, `alias`, `acc,none`
//! and `acc_stderr,none`: the share and its standard error, √(share · (1 − share) ÷ (n − 1)), as there. The number of
//! `TASK` is that of all questions together, as the harness weighs these groups; its error follows from the subjects'
//! as the harness pools them. Further `group_subtasks`, `n-shot`, `n-samples`, `versions`, `higher_is_better` and
//! `configs`, which names the task and says no more.
//!
//! A sample has `doc_id`, `doc` (`question`, `A` to `D`, `answer`), `target`, `resps` and `filtered_resps` (minus the
//! losses of the four answers, or what was written and the letter read from it), `prompt_hash`
//! (BLAKE3 of the prompt, where the harness has SHA-256), `filter` and `acc`. What `eval` does not keep is not
//! made up: `arguments` is empty, and there are no digests of documents and targets.
//!
//! How a question was put decides about the numbers, not the form of a file: only `preset = "lm_eval"`
//! asks as the harness does.

use std::collections::BTreeMap;

use plan::KindSpec;
use plan::kind::{Arity, Form, Port, Slot};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::exam::LETTERS;
use crate::page::page;
use crate::records::{Lines, Output};
use crate::{Cx, Kind, StepError, params_of};

pub(crate) struct ExportEval;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Params {
    /// What the exam is called; the first part of its subjects' names.
    task: String,
    /// How many questions were shown with their answers.
    #[serde(default = "default_shots")]
    #[schemars(range(max = 100))]
    shots: usize,
}

fn default_shots() -> usize {
    5
}

impl Kind for ExportEval {
    const SPEC: KindSpec = KindSpec {
        name: "export_eval",
        version: 1,
        about: "write an exam's results as lm-evaluation-harness does",
        page: page!("export_eval.rs"),
        inputs: &[
            Port { name: "predictions", arity: Arity::One, about: "what `eval` predicted" },
            Port { name: "subjects", arity: Arity::One, about: "its accuracy by subject" },
        ],
        outputs: &[Slot { name: "folder", form: Form::Dir, about: "results and samples" }],
        params: params_of::<Params>,
        ..KindSpec::PLAIN
    };
    type Params = Params;

    fn run(&self, params: &Params, cx: &mut Cx<'_>) -> Result<(), StepError> {
        let named =
            |it: &str| !it.is_empty() && !it.contains(['/', '\\', '\0']) && !it.starts_with('.');
        if !named(&params.task) {
            let reason = format!("`{}` cannot be part of a file's name", params.task);
            return Err(StepError::Params { kind: "export_eval", reason });
        }
        let subjects = subjects(cx, &named)?;
        let folder = cx.output("folder")?.to_owned();
        std::fs::create_dir_all(&folder).map_err(StepError::io(&folder))?;
        let mut output = Output::create(&folder.join("results.json"))?;
        let results = results(params, &subjects);
        let text = serde_json::to_vec_pretty(&results);
        output.line(&text.expect("texts and finite numbers are always JSON"))?;
        output.finish()?;
        let n = samples(params, &subjects, cx)?;
        cx.count("samples", n);
        Ok(())
    }
}

/// A subject's questions, and how many were answered rightly.
#[derive(Clone, Copy)]
struct Count {
    n: u64,
    right: u64,
}

impl Count {
    fn share(self) -> f64 {
        self.right as f64 / self.n.max(1) as f64
    }

    fn error(self) -> f64 {
        let share = self.share();
        (share * (1.0 - share) / (self.n.max(2) - 1) as f64).sqrt()
    }
}

fn subjects(
    cx: &Cx<'_>,
    named: &dyn Fn(&str) -> bool,
) -> Result<BTreeMap<String, Count>, StepError> {
    let mut lines = Lines::open(cx.input("subjects")?)?;
    let (mut buffer, mut all) = (Vec::new(), BTreeMap::new());
    while lines.next(&mut buffer)? {
        let record: Value =
            serde_json::from_slice(&buffer).map_err(|it| lines.mistake(None, it.to_string()))?;
        let lacks =
            |field: &str| lines.mistake(Some(field), "is not as `eval` writes it".to_owned());
        let subject = record["subject"].as_str().filter(|it| named(it));
        let subject = subject.ok_or_else(|| lacks("subject"))?.to_owned();
        let count = |name: &str| record[name].as_u64().ok_or_else(|| lacks(name));
        let it = Count { n: count("n")?, right: count("right")? };
        if it.right > it.n || all.insert(subject, it).is_some() {
            return Err(lacks("subject"));
        }
    }
    Ok(all)
}

fn results(params: &Params, subjects: &BTreeMap<String, Count>) -> Value {
    let task = |subject: &String| format!("{}_{subject}", params.task);
    let numbers = |alias: &str, share: f64, error: f64| json!({ "alias": alias, "acc,none": share, "acc_stderr,none": error });
    let all = subjects.values().fold(Count { n: 0, right: 0 }, |sum, it| Count {
        n: sum.n + it.n,
        right: sum.right + it.right,
    });
    // As the harness pools: each variance weighed by its degrees of freedom.
    let weighed: f64 = subjects
        .values()
        .map(|it| (it.n.max(1) - 1) as f64 * it.error().powi(2) * it.n as f64)
        .sum();
    let freedom = all.n.saturating_sub(subjects.len() as u64).max(1) as f64;
    let error = (weighed / freedom / all.n.max(1) as f64).sqrt();
    let whole = numbers(&params.task, all.share(), error);
    let mut found = Map::from_iter([(params.task.clone(), whole.clone())]);
    for (subject, it) in subjects {
        found.insert(task(subject), numbers(&format!(" - {subject}"), it.share(), it.error()));
    }
    let each = |of: &dyn Fn(&String, &Count) -> Value| -> Value {
        subjects.iter().map(|(name, it)| (task(name), of(name, it))).collect::<Map<_, _>>().into()
    };
    json!({
        "results": found,
        "groups": { params.task.clone(): whole },
        "group_subtasks": { params.task.clone(): subjects.keys().map(task).collect::<Vec<_>>() },
        "configs": each(&|name, _| json!({ "task": task(name), "num_fewshot": params.shots })),
        "versions": each(&|_, _| 1.into()),
        "n-shot": each(&|_, _| params.shots.into()),
        "higher_is_better": each(&|_, _| json!({ "acc": true })),
        "n-samples": each(&|_, it| json!({ "original": it.n, "effective": it.n })),
    })
}

/// Writes the samples of each subject; gives how many there are.
fn samples(
    params: &Params,
    subjects: &BTreeMap<String, Count>,
    cx: &Cx<'_>,
) -> Result<u64, StepError> {
    let mut lines = Lines::open(cx.input("predictions")?)?;
    let (mut buffer, mut outputs) = (Vec::new(), BTreeMap::new());
    for subject in subjects.keys() {
        let name = format!("samples_{}_{subject}.jsonl", params.task);
        outputs.insert(subject.as_str(), (Output::create(&cx.output("folder")?.join(name))?, 0));
    }
    while lines.next(&mut buffer)? {
        cx.check_stop()?;
        let record: Value =
            serde_json::from_slice(&buffer).map_err(|it| lines.mistake(None, it.to_string()))?;
        let subject = record["subject"].as_str().and_then(|it| outputs.get_mut(it));
        let Some((output, n)) = subject else {
            let reason = "is no subject of the other input".to_owned();
            return Err(lines.mistake(Some("subject"), reason));
        };
        let Some(right) = record["right"].as_bool() else {
            return Err(lines.mistake(Some("right"), "is neither true nor false".to_owned()));
        };
        output.line(sample(&record, *n, right).to_string().as_bytes())?;
        *n += 1;
    }
    let n = outputs.values().map(|it| it.1).sum();
    outputs.into_values().try_for_each(|it| it.0.finish())?;
    Ok(n)
}

fn sample(record: &Value, n: u64, right: bool) -> Value {
    let mut doc = json!({ "id": n, "question": record["question"], "answer": record["answer"] });
    for (i, letter) in LETTERS.iter().enumerate() {
        doc[*letter] = record["options"][i].clone();
    }
    let (resps, filtered) = match record["losses"].as_array() {
        Some(losses) => {
            let likely = |it: &Value| json!([-it.as_f64().unwrap_or(f64::MAX), false]);
            let all: Vec<Value> = losses.iter().map(likely).collect();
            (all.iter().map(|it| json!([it])).collect(), Value::from(all))
        }
        None => (json!([[record["text"]]]), json!([record["prediction"]])),
    };
    json!({ "doc_id": n, "doc": doc, "target": record["answer"], "arguments": [], "resps": resps,
        "filtered_resps": filtered, "filter": "none", "metrics": ["acc"], "prompt_hash": record["prompt"],
        "acc": f64::from(u8::from(right)) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kit::Kit;

    const PREDICTIONS: &str = concat!(
        r#"{"id":"law/1","subject":"law","question":"q","options":["a","b","c","d"],"answer":"B","prediction":"B","right":true,"shots":5,"prompt":"12","losses":[2.0,0.5,3.0,4.0]}"#,
        "\n",
        r#"{"id":"art/1","subject":"art","question":"r","options":["a","b","c","d"],"answer":"A","prediction":null,"right":false,"shots":5,"prompt":"34","text":"?"}"#,
        "\n",
    );

    fn subjects(n: u64) -> String {
        format!(
            "{{\"subject\":\"law\",\"n\":{n},\"right\":1}}\n{{\"subject\":\"art\",\"n\":{n},\"right\":0}}\n"
        )
    }

    fn run(with: &str, predictions: &str, subjects: &str) -> Result<String, String> {
        let mut kit = Kit::new("export_eval");
        let put = |name: &str, text: &str| {
            let path = kit.folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            vec![path]
        };
        let inputs = [("predictions", put("p", predictions)), ("subjects", put("s", subjects))];
        kit.run_at(with, &inputs).map(|mut it| it.remove(0)).map_err(|it| it.to_string())
    }

    #[test]
    fn results_and_samples_have_the_harness_shape() {
        insta::assert_snapshot!(run("task = 'ceval-valid'", PREDICTIONS, &subjects(4)).unwrap());
    }

    #[test]
    fn the_error_of_all_is_pooled_as_the_harness_does() {
        // By hand: (9 · 0.25 ÷ 9 · 10 + 29 · 0.25 ÷ 29 · 30) ÷ 38 ÷ 40 is 10 ÷ 1520.
        let count = |n: u64, right: u64| Count { n, right };
        let params = Params { task: "t".to_owned(), shots: 0 };
        let two = BTreeMap::from([("a".to_owned(), count(10, 5)), ("b".to_owned(), count(30, 15))]);
        let found = results(&params, &two)["results"]["t"]["acc_stderr,none"].as_f64().unwrap();
        assert!((found - (10.0f64 / 1520.0).sqrt()).abs() < 1e-12);
    }

    #[test]
    fn what_is_not_as_eval_writes_it_is_named() {
        let error = |with, p: &str, s: &str| run(with, p, s).unwrap_err();
        assert!(error("task = '../x'", "", "").ends_with("`../x` cannot be part of a file's name"));
        let up = "{\"subject\":\"../x\",\"n\":1,\"right\":0}\n";
        assert!(error("task = 't'", "", up).contains(":1: field `subject`: is not as `eval`"));
        let other = PREDICTIONS.replace("law", "war");
        assert!(
            error("task = 't'", &other, &subjects(1))
                .contains(":1: field `subject`: is no subject")
        );
        let broken = "{\"subject\":\"law\",\"right\":3}\n";
        assert!(error("task = 't'", broken, &subjects(1)).contains("field `right`"));
    }
}
