//! `kun report`.

use crate::project::Project;

#[test]
fn event_files_are_written_where_they_are_asked_for() {
    let manifest = "[steps.final]\nrun = [\"cp\", \"${in.log}\", \"${out.log}\"]\n\
                    in = { log = \"log.jsonl\" }\nout = { log = \"records\" }\n";
    let log = "{\"step\":1,\"loss\":3.5,\"learning_rate\":0.1}\n";
    let project = Project::with(&[("workflow.toml", manifest), ("log.jsonl", log)]);
    project.good("run");
    project.good("report");
    let file = project.path("report/tensorboard/final/events.out.tfevents.0.kun");
    assert!(project.path("report/index.html").is_file() && !file.exists());
    project.good("report --tensorboard");
    let bytes = std::fs::read(file).unwrap();
    let has = |text: &[u8]| bytes.windows(text.len()).any(|it| it == text);
    assert!(has(b"brain.Event:2") && has(b"\x0a\x04loss\x15\x00\x00\x60\x40"), "{bytes:?}");
}
