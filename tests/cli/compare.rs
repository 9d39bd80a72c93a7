//! `kun compare`.

use std::fmt::Write as _;

use insta::assert_snapshot;

use crate::project::Project;

const MANIFEST: &str = r#"
[workflow]
name = "exams"
format = 1

[params]
which = "weak"

[variants]
weak = { which = "weak" }
strong = { which = "strong" }
other = { which = "other" }

[sources]
answers = { path = "answers" }

[steps.law]
run = ["sh", "exam.sh", "${in.answers}/${params.which}.jsonl", "${out.predictions}"]
in = { answers = "${sources.answers}" }
out = { predictions = "records" }
code = ["exam.sh"]

[steps.count]
op = "count"
in = { data = "${steps.law.predictions}" }
"#;

/// So many questions of two subjects, of which every `nth` is answered rightly.
fn answers(n: usize, nth: usize) -> String {
    let mut text = String::new();
    for i in 0..n {
        let (subject, right) = (["a", "b"][usize::from(i % 3 == 0)], i % nth == 0);
        writeln!(text, "{{\"id\":\"q{i}\",\"subject\":\"{subject}\",\"right\":{right}}}").unwrap();
    }
    text
}

fn project() -> Project {
    let project = Project::with(&[("exam.sh", "cp \"$1\" \"$2\"\n"), ("workflow.toml", MANIFEST)]);
    project.write("answers/weak.jsonl", answers(40, 5));
    project.write("answers/strong.jsonl", answers(40, 2));
    project.write("answers/other.jsonl", answers(30, 4));
    project
}

#[test]
fn variants_stand_side_by_side_with_their_differences_to_the_first() {
    let project = project();
    project.good("run --variant *");
    assert_snapshot!(project.run("compare weak strong other"), @"
    exit 0
    --- stdout
                 law
    weak    20.3 %
    strong  50.0 % *
    other   27.5 % +

    exam  second  less first           points          95 %       p
    law   strong  weak                   30.0  10.0 to 50.0  0.0118
    law   other   weak        other questions
    --- stderr
    * is the best of a column, + the second
    ");
    let pairs = project.good("compare --pairs weak strong other");
    assert!(pairs.contains("law   other   strong      other questions"), "{pairs}");
    project.write("answers/weak.jsonl", answers(40, 4));
    assert_snapshot!(project.run("compare weak strong --json"), @r#"
    exit 0
    --- stdout
    {"names":["weak","strong"],"exams":["law"],"accuracy":{"law":{"strong":{"accuracy":0.5,"of_questions":0.5,"low":0.351995,"high":0.648005,"questions":40,"fresh":false},"weak":{"accuracy":0.203297,"of_questions":0.2,"low":0.105,"high":0.347573,"questions":40,"fresh":false}}},"differences":[{"exam":"law","first":"weak","second":"strong","difference":0.3,"low":0.1,"high":0.5,"p":0.011818}]}
    "#);
}

#[test]
fn what_cannot_be_compared_is_named() {
    let project = project();
    assert_snapshot!(project.run("compare weak strong"), @"
    exit 2
    --- stderr
    error: `weak` has no exam with a result

    help: an exam is an output of records with `id` and `right`, as `eval` writes it
    ");
    assert_snapshot!(project.run("compare weak count"), @"
    exit 2
    --- stderr
    error: no variant `count`

    help: the variants are weak, strong, other
    ");
    project.good("run");
    assert_snapshot!(project.run("compare law"), @"
    exit 0
    --- stdout
           exam
    law  20.3 %
    --- stderr
    * is the best of a column, + the second
    ");
    assert_snapshot!(project.run("compare law law"), @"
    exit 2
    --- stderr
    error: `law` is named twice
    ");
    assert_snapshot!(project.run("compare count"), @"
    exit 2
    --- stderr
    error: `count` has no exam with a result

    help: an exam is an output of records with `id` and `right`, as `eval` writes it
    ");
}
