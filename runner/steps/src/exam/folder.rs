//! Reads the folder of an exam: a table of subjects, and a file of questions for each subject and
//! part. A file that is missing, empty or broken is an error that names it; none is passed over.

use std::path::Path;

use serde_json::{Map, Value};

use super::{LETTERS, Question, Shape, Sheet, Subject};
use crate::StepError;
use crate::kinds::corpus::open::open;
use crate::kinds::corpus::rows::{Next, Rows};
use crate::kinds::corpus::{Encoding, Format, LONGEST_ROW, Unit};

const CEVAL: &str = include_str!("ceval.json");
const CMMLU: &str = include_str!("cmmlu.json");

/// What of an exam is wanted.
pub(crate) struct Wanted<'a> {
    pub(crate) shape: Shape,
    pub(crate) split: &'a str,
    /// How many questions are shown with their answers.
    pub(crate) shots: usize,
    /// Only these subjects; none: all.
    pub(crate) subjects: &'a [String],
}

/// Reads the sheets of all subjects that are wanted, in the order of the table.
pub(crate) fn sheets(folder: &Path, wanted: &Wanted<'_>) -> Result<Vec<Sheet>, StepError> {
    let mut subjects = subjects(folder, wanted.shape)?;
    if let Some(it) = wanted.subjects.iter().find(|it| !subjects.iter().any(|s| s.key == **it)) {
        let reason = format!("`subjects` names `{it}`, which the table of subjects does not have");
        return Err(StepError::Params { kind: "eval", reason });
    }
    subjects.retain(|it| wanted.subjects.is_empty() || wanted.subjects.contains(&it.key));
    subjects.into_iter().map(|it| sheet(folder, wanted, it)).collect()
}

/// The table of the folder, or else the benchmark's own.
fn subjects(folder: &Path, shape: Shape) -> Result<Vec<Subject>, StepError> {
    let path = folder.join("subjects.json");
    let own = match shape {
        Shape::Ceval => CEVAL,
        Shape::Cmmlu => CMMLU,
    };
    let text = match std::fs::read_to_string(&path) {
        Ok(it) => it,
        Err(it) if it.kind() == std::io::ErrorKind::NotFound => own.to_owned(),
        Err(it) => return Err(StepError::io(&path)(it)),
    };
    let wrong = |line: usize, reason: String| StepError::Record {
        file: path.clone(),
        line: line as u64,
        field: None,
        reason,
    };
    let subjects: Vec<Subject> =
        serde_json::from_str(&text).map_err(|it| wrong(it.line(), it.to_string()))?;
    if subjects.is_empty() {
        return Err(wrong(1, "names no subject".to_owned()));
    }
    for (i, it) in subjects.iter().enumerate() {
        let named = |key: &str| !key.is_empty() && !key.contains(['/', '\\']);
        if !named(&it.key) {
            return Err(wrong(1, format!("`{}` cannot be the `key` of a subject", it.key)));
        }
        if subjects[..i].iter().any(|before| before.key == it.key) {
            return Err(wrong(1, format!("names `{}` twice", it.key)));
        }
    }
    Ok(subjects)
}

fn sheet(folder: &Path, wanted: &Wanted<'_>, subject: Subject) -> Result<Sheet, StepError> {
    let file = |split: &str| {
        let name = match wanted.shape {
            Shape::Ceval => format!("{}_{split}.csv", subject.key),
            Shape::Cmmlu => format!("{}.csv", subject.key),
        };
        folder.join(split).join(name)
    };
    let mut shots = match wanted.shots {
        0 => Vec::new(),
        _ => questions(&file("dev"))?,
    };
    if shots.len() < wanted.shots {
        let reason = format!("has {} questions; `shots` wants {}", shots.len(), wanted.shots);
        return Err(StepError::Record { file: file("dev"), line: 1, field: None, reason });
    }
    shots.truncate(wanted.shots);
    let path = file(wanted.split);
    let questions = questions(&path)?;
    let due = subject.questions.get(wanted.split).copied();
    if let Some(due) = due.filter(|it| *it != questions.len() as u64) {
        let reason = format!("has {} questions; the benchmark has {due} here", questions.len());
        return Err(StepError::Record { file: path, line: 1, field: None, reason });
    }
    Ok(Sheet { subject, shots, questions })
}

/// The questions of a file; their columns' names may be written large or small.
fn questions(path: &Path) -> Result<Vec<Question>, StepError> {
    let opened = open(path, Encoding::Detect)?;
    let mut rows = Rows::new(opened.reader, Format::Csv, Unit::Line, LONGEST_ROW);
    let (mut buffer, mut questions) = (Vec::new(), Vec::new());
    let wrong = |line: u64, field: Option<&str>, reason: String| StepError::Record {
        file: path.to_owned(),
        line,
        field: field.map(str::to_owned),
        reason,
    };
    loop {
        match rows.next(&mut buffer).map_err(StepError::io(path))? {
            Next::End => break,
            Next::Unread(reason) => return Err(wrong(rows.line, None, reason)),
            Next::Row => {}
        }
        let row: Map<String, Value> =
            serde_json::from_slice(&buffer).map_err(|it| wrong(rows.line, None, it.to_string()))?;
        let field = |name: &str| {
            let named = |it: &&String| it.trim_start_matches('\u{FEFF}').eq_ignore_ascii_case(name);
            let found = row.keys().find(named).and_then(|it| row[it].as_str());
            found.ok_or_else(|| wrong(rows.line, Some(name), "is missing".to_owned()))
        };
        let answer = field("answer")?.trim();
        let place = LETTERS.iter().position(|it| *it == answer).ok_or_else(|| {
            let reason = format!("is `{answer}`, which is none of A, B, C and D");
            wrong(rows.line, Some("answer"), reason)
        })?;
        let option = |i: usize| field(LETTERS[i]).map(str::to_owned);
        questions.push(Question {
            text: field("question")?.to_owned(),
            options: [option(0)?, option(1)?, option(2)?, option(3)?],
            answer: place,
            id: field("id").ok().map(str::to_owned),
            explanation: field("explanation").ok().map(str::to_owned),
        });
    }
    match questions.is_empty() {
        true => Err(wrong(1, None, "has no question".to_owned())),
        false => Ok(questions),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_are_those_of_the_benchmarks() {
        let nowhere = Path::new("/nowhere");
        let count = |all: &[Subject], group: &str| {
            all.iter().filter(|it| it.categories.iter().any(|it| it == group)).count()
        };
        let ceval = subjects(nowhere, Shape::Ceval).unwrap();
        let groups = ["stem", "social_science", "humanities", "other", "hard"];
        assert_eq!(groups.map(|it| count(&ceval, it)), [20, 10, 11, 11, 8]);
        assert_eq!(ceval.iter().map(|it| it.questions["val"]).sum::<u64>(), 1346);
        let cmmlu = subjects(nowhere, Shape::Cmmlu).unwrap();
        let groups = ["stem", "humanities", "social_science", "other", "china_specific"];
        assert_eq!(groups.map(|it| count(&cmmlu, it)), [17, 13, 22, 15, 15]);
        assert_eq!(cmmlu.iter().map(|it| it.questions["test"]).sum::<u64>(), 11582);
    }

    /// An exam of one subject with one file.
    fn exam(csv: &str) -> Result<Vec<Sheet>, String> {
        let folder = tempfile::tempdir().unwrap();
        let table = r#"[{"key":"law","zh":"法学","categories":["other"]}]"#;
        std::fs::write(folder.path().join("subjects.json"), table).unwrap();
        std::fs::create_dir(folder.path().join("val")).unwrap();
        std::fs::write(folder.path().join("val/law_val.csv"), csv).unwrap();
        let wanted = Wanted { shape: Shape::Ceval, split: "val", shots: 0, subjects: &[] };
        sheets(folder.path(), &wanted)
            .map_err(|it| it.to_string().replace(&format!("{}/", folder.path().display()), ""))
    }

    #[test]
    fn questions_are_read_with_quotes_and_either_case() {
        let sheets = exam("id,Question,A,B,C,D,Answer\n0,\"甲,\n\"\"乙\"\"\",1,2,3,4,C\n").unwrap();
        let question = &sheets[0].questions[0];
        assert_eq!((question.text.as_str(), question.answer), ("甲,\n\"乙\"", 2));
        assert_eq!(question.options, ["1", "2", "3", "4"]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let error = |csv| exam(csv).unwrap_err();
        insta::assert_snapshot!(error("id,question,A,B,C,D,answer\n"), @"val/law_val.csv:1: has no question");
        insta::assert_snapshot!(
            error("id,question,A,B,C,D,answer\n0,q,1,2,3,4,E\n"),
            @"val/law_val.csv:2: field `answer`: is `E`, which is none of A, B, C and D"
        );
        insta::assert_snapshot!(
            error("id,question,A,B,C,answer\n0,q,1,2,3,A\n"),
            @"val/law_val.csv:2: field `D`: is missing"
        );
    }
}
