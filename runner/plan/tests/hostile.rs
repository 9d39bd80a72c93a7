//! No text makes the planner panic; formatting changes blanks and nothing else.

mod common;

use std::path::Path;

use common::{KINDS, Memory, mistakes};
use proptest::prelude::*;

const KUN: &str = include_str!("kun.toml");

const PIECES: &[&str] = &[
    "[steps.a]\n",
    "[steps.b]\n",
    "[params]\n",
    "[variants]\n",
    "op = 'sample'\n",
    "run = ['f']\n",
    "in = { data = '${steps.a.o}' }\n",
    "out = { o = 'file' }\n",
    "a = 1\n",
    "'",
    "\"",
    "[",
    "]",
    "{",
    "}",
    "=",
    ".",
    "\n",
    "# c\n",
    "${",
    "${each.x}",
    "[*]",
    "each = { x = [1, 'a'] }\n",
    "\"\"\"",
    "'''",
    "when = '${params.a}'\n",
    "v = { a = 2 }\n",
    "extends = 'workflow.toml'\n",
    "é",
    "\r\n",
    "x . y = 0x1F # d\n",
    "[[steps]]\n",
    "l = [\n 1, # one\n  2,\n]\n",
    "  d = { e.f = 1,g = [ 1,2 ] }\n",
];

fn pieces() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(PIECES), 0..24).prop_map(|it| it.concat())
}

fn mutated() -> impl Strategy<Value = String> {
    (0..KUN.len(), 0..KUN.len(), prop::sample::select(PIECES)).prop_map(|(from, to, piece)| {
        let floor = |mut it: usize| {
            while !KUN.is_char_boundary(it) {
                it -= 1;
            }
            it
        };
        let (from, to) = (floor(from), floor(to.min(from + 40).max(from)));
        format!("{}{piece}{}", &KUN[..from], &KUN[to..])
    })
}

/// The values of a document, in one spelling.
fn meaning(text: &str) -> toml::Table {
    text.parse().expect("only what was parsed once comes here")
}

fn try_all(text: &str) {
    mistakes(&Memory::with(&[("workflow.toml", text)])).to_string();
    if let Ok(once) = plan::format(Path::new("a.toml"), text) {
        assert_eq!(meaning(&once), meaning(text), "{text}\n---\n{once}");
        assert_eq!(
            plan::format(Path::new("a.toml"), &once).expect("it is still a manifest"),
            once,
            "from {text}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(128) })]

    #[test]
    fn random_texts_do_not_panic(text in "\\PC{0,80}") {
        try_all(&text);
    }

    #[test]
    fn random_pieces_do_not_panic(text in pieces()) {
        try_all(&text);
    }

    #[test]
    fn a_manifest_with_a_slip_does_not_panic(text in mutated()) {
        try_all(&text);
    }
}

#[test]
fn the_style_is_one() {
    let text = "\n\n[workflow]   # head\nname    = \"kun\"\n\n\n\nseed=1 #s\n  [params]\na . b = { c=1,d = [ 1,2 , 3 ] }\n\
        l = [\n  1, # one\n  2\n]\n# about s\n[steps.s]\nrun = ['a','b']\n\n\n";
    insta::assert_snapshot!(plan::format(Path::new("a.toml"), text).unwrap(), @r#"
    [workflow] # head
    name = "kun"

    seed = 1 #s

    [params]
    a.b = { c = 1, d = [1, 2, 3] }
    l = [
      1, # one
      2
    ]

    # about s
    [steps.s]
    run = ['a', 'b']
    "#);
}

#[test]
fn the_schema_knows_grammar_and_kinds() {
    let schema = plan::schema(KINDS);
    let step = &schema["properties"]["steps"]["additionalProperties"];
    assert_eq!(step["properties"]["op"]["anyOf"][0]["const"], "sample");
    assert_eq!(step["additionalProperties"], false);
    let with = &step["allOf"][0]["then"]["properties"]["with"];
    assert_eq!(with["required"][0], "rate");
    assert_eq!(with["properties"]["count"]["default"], 5);
    assert_eq!(schema["properties"]["steps"]["propertyNames"]["pattern"], "^[A-Za-z0-9_-]{1,128}$");
}

#[test]
fn mistakes_among_many_names_take_time_as_long_as_the_file() {
    let n = 50_000;
    let all = |line: &dyn Fn(usize) -> String| (0..n).map(line).collect::<String>();
    let head = "[workflow]\nname = 'w'\nformat = 1\n";
    let step = |i: usize, input: String| {
        format!("[steps.s{i}]\nrun = ['f']\nin = {{ i = '{input}' }}\nout = {{ o = 'file' }}\n")
    };
    let params = all(&|i| format!("p{i} = 1\n"));
    for text in [
        all(&|i| step(i, format!("${{steps.t{i}.o}}"))),
        all(&|i| step(i, format!("${{steps.s0.p{i}}}"))),
        all(&|i| step(i, format!("${{sources.x{i}}}"))),
        format!("[params]\n{params}[variants.v]\n{}", all(&|i| format!("q{i} = 1\n"))),
    ] {
        let before = std::time::Instant::now();
        let found = mistakes(&Memory::with(&[("workflow.toml", &format!("{head}{text}"))]));
        assert!(found.0.len() >= n, "{} mistakes", found.0.len());
        // With every name compared for every mistake, each of these took half an hour.
        assert!(before.elapsed().as_secs() < 60, "{:?}", before.elapsed());
    }
}
