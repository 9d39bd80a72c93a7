//! Chat templates of foreign model folders that try to take all memory: the binary renders them in
//! a process that the kernel bounds, and says so.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::place::{Place, peak_kib, until};

/// No process of ours may hold more.
const PEAK_KIB: u64 = 1 << 20;
/// What each takes alone is a second or two.
const LONGEST: Duration = Duration::from_secs(60);

/// A place with a model whose folder has this template.
fn with_template(template: &str) -> Place {
    let place = Place::new();
    let model = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/oracle/fixtures/text/talk");
    for entry in std::fs::read_dir(model).unwrap() {
        let entry = entry.unwrap();
        let name = format!("model/{}", entry.file_name().display());
        place.write(&name, std::fs::read(entry.path()).unwrap());
    }
    place.write("model/chat_template.jinja", template);
    place.write("records.jsonl", "{\"instruction\": \"a\", \"output\": \"b\"}\n");
    place
}

const INSPECT: &str = "model inspect model --tokens records.jsonl";

#[test]
fn a_template_that_asks_for_all_memory_is_refused_in_a_sentence() {
    for template in [
        // Doubled sixty times, by an operator.
        "{% set ns = namespace(x='aaaaaaaa') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
        // Ten times as long, forty times, by a filter; and by a method.
        "{% set ns = namespace(x='a') %}{% for i in range(40) %}{% set ns.x = ns.x|replace('a', 'aaaaaaaaaa') %}{% endfor %}",
        "{% set ns = namespace(x='a') %}{% for i in range(40) %}{% set ns.x = ns.x.replace('a', 'aaaaaaaaaa') %}{% endfor %}",
        // At once, by filters of few words.
        "{{ (['a' * 1000000] * 1000000)|join }}",
        "{{ [1]|slice(9999999999)|list }}",
        // Held in a list, each within every bound; and already while it is compiled.
        "{% set ns = namespace(x=[]) %}{% for i in range(400) %}{% set ns.x = ns.x + [('a' * 90000000)|upper] %}{% endfor %}",
        "{{ ('a' * 90000000) ~ ('a' * 90000000) ~ ('a' * 90000000) ~ ('a' * 90000000) ~ ('a' * 90000000) ~ ('a' * 90000000) ~ ('a' * 90000000) ~ ('a' * 90000000) }}",
    ] {
        let place = with_template(template);
        let before = Instant::now();
        let mut run = place.start(INSPECT);
        let peak = peak_kib(&mut run);
        let (code, said) = (run.wait(), run.said());
        assert_eq!(code, Some(2), "{template}\n{said}");
        let sentence = "chat template `chat_template.jinja`: needs more than 768 MiB of memory";
        assert!(said.contains(sentence), "{template}\n{said}");
        assert!(peak < PEAK_KIB, "{template}: {peak} KiB were held");
        assert!(before.elapsed() < LONGEST, "{template}: {:?}", before.elapsed());
    }
}

#[test]
fn a_renderer_ends_with_the_process_that_asked_it() {
    // Some minutes of work that takes no memory.
    let place =
        with_template("{% for i in range(99999) %}{% set x = ('a' * 5000000)|upper %}{% endfor %}");
    let run = place.start(INSPECT);
    let mut renderer = 0;
    until("a renderer", || {
        renderer = run.children().first().copied().unwrap_or(0);
        renderer != 0
    });
    run.signal(Signal::KILL);
    until("the end of the renderer", || {
        let status = std::fs::read_to_string(format!("/proc/{renderer}/status"));
        status.map_or(true, |it| it.contains("State:\tZ"))
    });
}
