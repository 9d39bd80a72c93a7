//! Every code of a mistake has a fixture, and what is said is shown whole.

mod common;

use std::collections::BTreeSet;

use common::{Memory, mistakes};
use insta::assert_snapshot;
use plan::mistake::CODES;

/// Manifests with one mistake each: its code and the text.
const FIXTURES: &[(&str, &str)] = &[
    ("bad-endpoint", "[models]\na = { endpoint = 'ftp://h/v1', model = 'm' }\n"),
    ("bad-name", "[steps.'a b']\nrun = ['f']\n"),
    ("bad-number", "[params]\na = nan\n"),
    ("bad-path", "[steps.a]\nrun = ['f']\nout = { o = { form = 'file', name = '../x' } }\n"),
    ("bad-reference", "[steps.a]\nrun = ['f', '${params}']\n"),
    ("bad-target", "[workflow]\ntargets = ['a[1']\n[steps.a]\nrun = ['f']\n"),
    ("bad-value", "[steps.a]\nrun = ['f']\ntimeout = 'soon'\n"),
    ("cycle", "[steps.a]\nrun = ['f']\nin = { x = '${steps.a.o}' }\nout = { o = 'file' }\n"),
    ("date", "[params]\na = 2024-01-02\n"),
    (
        "duplicate-output",
        "[steps.a]\nrun = ['f']\nout = { o = 'file', p = { form = 'dir', name = 'o' } }\n",
    ),
    ("duplicate-value", "[steps.a]\nrun = ['f']\neach = { x = [1, 1] }\n"),
    (
        "fanned",
        "[steps.a]\nrun = ['f']\neach = { x = [1, 2] }\nout = { o = 'file' }\n[steps.b]\nrun = ['f']\nin = { x = '${steps.a.o}' }\n",
    ),
    ("format-too-new", "[workflow]\nformat = 2\nnovel = 1\n"),
    ("missing-input", "[steps.a]\nop = 'ingest'\n"),
    ("missing-key", "[sources]\na = {}\n"),
    ("missing-with", "[steps.a]\nop = 'sample'\nin = { data = 'x' }\n"),
    ("no-files", "[steps.a]\nrun = ['f']\ncode = ['*.py']\n"),
    ("no-numerics", "[steps.a]\nrun = ['f']\nnumerics = 'exact'\n"),
    ("no-seed", "[steps.a]\nrun = ['f', '${seed}']\n"),
    ("no-shards", "[steps.a]\nrun = ['f']\nshards = 2\n"),
    (
        "not-an-endpoint",
        "[models]\na = { endpoint = 'http://h/v1', model = 'm' }\n[steps.a]\nop = 'eval'\nin = { model = '${models.a}', tasks = 'x' }\n",
    ),
    ("not-for-kinds", "[steps.a]\nop = 'ingest'\nin = { data = 'x' }\nenv = {}\n"),
    ("op-or-run", "[steps.a]\ndesc = 'nothing'\n"),
    ("param-type", "[params]\na = 1\n[variants]\nv = { a = 'x' }\n"),
    ("path-leaves", "[sources]\na = { path = '../x' }\n"),
    ("path-or-endpoint", "[models]\na = { outside = true }\n"),
    (
        "skipped",
        "[steps.a]\nwhen = false\nrun = ['f']\nout = { o = 'file' }\n[steps.b]\nrun = ['f']\nin = { x = '${steps.a.o}' }\n",
    ),
    ("syntax", "[steps.a\n"),
    ("too-many", TOO_MANY),
    ("too-many-inputs", "[steps.a]\nop = 'ingest'\nin = { data = ['x', 'y'] }\n"),
    ("unknown-each", "[steps.a]\nrun = ['f', '${each.x}']\n"),
    (
        "unknown-instance",
        "[steps.a]\nrun = ['f']\neach = { x = ['one'] }\nout = { o = 'file' }\n[steps.b]\nrun = ['f']\nin = { x = '${steps.a[oen].o}' }\n",
    ),
    ("unknown-key", "[steps.a]\nrun = ['f']\ninputs = { x = 'y' }\n"),
    ("unknown-kind", "[steps.a]\nop = 'ingset'\n"),
    ("unknown-model", "[steps.a]\nrun = ['f']\nin = { m = '${models.base}' }\n"),
    ("unknown-param", "[params]\nrate = 1\n[steps.a]\nrun = ['f', '${params.rat}']\n"),
    ("unknown-pool", "[steps.a]\nrun = ['f']\nuse = { api = 1 }\n"),
    ("unknown-port", "[steps.a]\nrun = ['f', '${in.x}']\n"),
    ("unknown-slot", "[steps.a]\nrun = ['f', '${out.x}']\n"),
    (
        "unknown-source",
        "[sources]\nwudao = { path = 'x' }\n[steps.a]\nrun = ['f']\neach = { s = ['wudoa'] }\nin = { x = '${sources[each.s]}' }\n",
    ),
    ("unknown-step", "[steps.train]\nrun = ['f']\nin = { x = '${steps.trian.o}' }\n"),
    (
        "unknown-variant",
        "[steps.a]\nrun = ['f']\nin = { x = '${variants.*.steps.b.o}' }\n[steps.b]\nrun = ['f']\nout = { o = 'file' }\n",
    ),
    ("unknown-with", "[steps.a]\nrun = ['f', '${with.x}']\n"),
    ("unreadable", "include = ['x.toml']\n"),
    ("variant-cycle", "[variants]\na = { extends = 'b' }\nb = { extends = 'a' }\n"),
    ("wrong-form", "[steps.a]\nop = 'ingest'\nin = { data = 'x' }\nout = { data = 'file' }\n"),
    ("wrong-type", "[steps.a]\nrun = 'f'\n"),
];

const TOO_MANY: &str = "[params]\nl = [0,1,2,3,4,5,6,7,8,9]\n[steps.a]\nrun = ['f']\n\
    each = { a = '${params.l}', b = '${params.l}', c = '${params.l}', d = '${params.l}', \
    e = '${params.l}', f = '${params.l}', g = '${params.l}' }\n";

fn said(text: &str) -> String {
    mistakes(&Memory::with(&[("workflow.toml", text)])).to_string()
}

#[test]
fn every_fixture_has_its_mistake_and_no_other() {
    for (code, text) in FIXTURES {
        let found = mistakes(&Memory::with(&[("workflow.toml", text)]));
        let codes: Vec<&str> = found.0.iter().map(|it| it.code).collect();
        assert_eq!(codes, [format!("manifest::{code}")], "{text}\n{found}");
    }
}

#[test]
fn every_code_has_a_fixture() {
    let elsewhere =
        ["duplicate", "include-cycle", "include-workflow", "not-utf8", "too-deep", "too-large"];
    let codes = FIXTURES.iter().map(|it| it.0).chain(elsewhere);
    let tested: BTreeSet<String> = codes.map(|it| format!("manifest::{it}")).collect();
    let declared: BTreeSet<String> = CODES.iter().map(|it| (*it).to_owned()).collect();
    assert_eq!(tested, declared);
}

#[test]
fn an_endpoint_is_written_whole_and_without_a_secret() {
    let text = "[models]\na = { path = 'm', endpoint = 'http://h/v1', model = 'm' }\n\
        b = { endpoint = 'http://me:hunter2@h/v1', model = 'm' }\n\
        c = { endpoint = 'http://h/v1', model = 'm', key_env = 'sk-hunter2' }\n\
        d = { endpoint = 'http://h/v1', model = 'm', base_url = 'x', concurrency = 0 }\n\
        e = { endpoint = 'http://h/v1' }\nf = { path = 'm', retries = 3 }\n\
        [steps.g]\nop = 'generate'\nin = { model = { endpoint = '${params.url}' }, data = 'x', prompt = 'y' }\n\
        [steps.h]\nrun = ['f']\nin = { x = { endpoint = 'http://h/v1', model = 'm' } }\n";
    let said = said(text);
    assert!(!said.contains("hunter2"));
    assert_snapshot!(said, @"
    manifest::path-or-endpoint workflow.toml:2:19 `a` has a `path` already
      help: a model is a folder, `{ path = … }`, or what a server has, `{ endpoint = …, model = … }`
    manifest::bad-endpoint workflow.toml:3:18 an endpoint's address holds no user and no password
      help: `key_env` names the environment variable that holds a key
    manifest::bad-name workflow.toml:4:56 `key_env` is no name of an environment variable
      help: the key itself never stands in a manifest
    manifest::unknown-key workflow.toml:5:46 a model has no key `base_url`
      help: it is called `endpoint` here
    manifest::bad-value workflow.toml:5:76 `concurrency` must be at least 1
    manifest::path-or-endpoint workflow.toml:6:1 `e` does not say which `model` its server shall use
      help: a model is a folder, `{ path = … }`, or what a server has, `{ endpoint = …, model = … }`
    manifest::path-or-endpoint workflow.toml:7:19 `f` is a folder, for which `retries` means nothing
      help: a model is a folder, `{ path = … }`, or what a server has, `{ endpoint = …, model = … }`
    manifest::missing-key workflow.toml:10:16 an endpoint needs `model`
      help: What that server calls the model.
    manifest::unknown-param workflow.toml:10:29 no parameter `url`
      help: write it under `[params]`
    ");
}

#[test]
fn a_code_file_cannot_stand_where_a_step_has_something_of_its_own() {
    let text = "[steps.a]\nrun = ['f']\ncode = ['out/f.sh', '*/g.sh', 'job.json']\n";
    let files = Memory::with(&[
        ("workflow.toml", text),
        ("out/f.sh", ""),
        ("in/g.sh", ""),
        ("job.json", ""),
    ]);
    assert_snapshot!(mistakes(&files).to_string(), @"
    manifest::bad-path workflow.toml:3:9 `out/f.sh` cannot be a code file
      help: `out` in a step's folder is the step's own; give it another folder
    manifest::bad-path workflow.toml:3:21 `in/g.sh` cannot be a code file
      help: `in` in a step's folder is the step's own; give it another folder
    manifest::bad-path workflow.toml:3:31 `job.json` cannot be a code file
      help: `job.json` in a step's folder is the step's own; give it another folder
    ");
}

#[test]
fn all_mistakes_are_said_at_once_with_place_and_advice() {
    let text = "[workflow]\nnmae = 'x'\n[params]\nrate = 0.5\n[variants]\nv = { raet = 1 }\n\
        [steps.a]\nop = 'sampel'\n[steps.b]\nop = 'sample'\ninputs = 'x'\n\
        in = { data = '${steps.a.dat}' }\nwith = { rate = 'x', cuont = 3, by = 'hsah', count = 11 }\n\
        [steps.c]\nrun = ['f', '${in.x}', '${out.y}']\nin = { x = '${steps.d.o}' }\n\
        use = { gpus = 1 }\n";
    assert_snapshot!(said(text), @r#"
    manifest::unknown-key workflow.toml:2:1 `[workflow]` has no key `nmae`
      help: did you mean `name`?
    manifest::unknown-param workflow.toml:6:14 no parameter `raet`
      help: did you mean `rate`?
    manifest::unknown-kind workflow.toml:8:6 no step kind `sampel`
      help: did you mean `sample`?
    manifest::unknown-key workflow.toml:11:1 a step has no key `inputs`
      help: it is called `in` here
    manifest::wrong-type workflow.toml:13:17 `rate` is a string, expected a float
    manifest::unknown-with workflow.toml:13:30 kind `sample` has no parameter `cuont`
      help: did you mean `count`?
    manifest::bad-value workflow.toml:13:38 `by` cannot be `hsah`
      help: did you mean `hash`?
    manifest::bad-value workflow.toml:13:54 `count` is 11 and must be at most 10
    manifest::unknown-slot workflow.toml:15:24 step `c` has no output `y`
    manifest::unknown-step workflow.toml:16:12 no step `d`
      help: there are `a`, `b` and `c`
    manifest::unknown-pool workflow.toml:17:9 no pool `gpus`
      help: did you mean `gpu`?
    "#);
}

#[test]
fn numbers_in_bf16_want_a_kind_that_computes_and_a_device() {
    let step = |name: &str, rest: &str| format!("[steps.{name}]\nnumerics = {rest}\n");
    let text = [
        step("a", "'bf16'\nop = 'sft'\nin = { base = 'x', data = 'y' }"),
        step("b", "'bf16'\nop = 'concat'\nin = { parts = ['x'] }\nuse = { gpu = 1 }"),
        step("c", "'f16'\nop = 'sft'\nin = { base = 'x', data = 'y' }\nuse = { gpu = 1 }"),
        step("d", "'bf16'\nop = 'sft'\nin = { base = 'x', data = 'y' }\nuse = { gpu = 1 }"),
    ];
    assert_snapshot!(said(&text.concat()), @r"
    manifest::no-numerics workflow.toml:2:12 step `a` has no `gpu` to compute in bf16 on
      help: write `use = { gpu = 1 }` in the step
    manifest::no-numerics workflow.toml:6:12 kind `concat` has the same numbers everywhere
    manifest::bad-value workflow.toml:11:12 `numerics` cannot be `f16`
      help: did you mean `bf16`?
    ");
}

#[test]
fn a_circle_is_named_whole_with_each_of_its_edges() {
    let step = |name: &str, of: &str| {
        format!(
            "[steps.{name}]\nrun = ['f']\nin = {{ x = '${{steps.{of}.o}}' }}\nout = {{ o = 'file' }}\n"
        )
    };
    let text = [step("a", "b"), step("b", "c"), step("c", "a"), step("d", "a")].concat();
    assert_snapshot!(said(&text), @r#"
    manifest::cycle workflow.toml:3:12 steps read each other in a circle: `a` → `b` → `c` → `a`
      here: `a` reads `b`
      workflow.toml:7:12 `b` reads `c`
      workflow.toml:11:12 `c` reads `a`
    "#);
}

#[test]
fn several_syntax_mistakes_are_said_and_no_echoes_of_them() {
    let text = "[steps.a]\nrun = ['f'\nin = { x = }\n[steps.b]\nop = 'ingset'\nin = { x = '${steps.a.o}' }\n";
    assert_snapshot!(said(text), @r#"
    manifest::syntax workflow.toml:3:1 missing comma between array elements, expected `,`
    "#);
}

#[test]
fn mistakes_between_files_name_both() {
    let files = Memory::with(&[
        ("workflow.toml", "include = ['a.toml', 'b.toml', 'c.toml']\n"),
        ("a.toml", "[steps.s]\nrun = ['f']\n"),
        ("b.toml", "[workflow]\nseed = 1\n[steps.s]\nrun = ['f']\n"),
        ("c.toml", "include = ['workflow.toml', '../x.toml']\n"),
    ]);
    assert_snapshot!(mistakes(&files), @r#"
    manifest::include-workflow b.toml:2:1 `workflow.seed` stands in an included manifest
      help: only the entry manifest speaks for the whole; move it there
    manifest::duplicate b.toml:3:8 `s` is defined twice
      here: here again
      a.toml:1:8 first here
    manifest::include-cycle c.toml:1:12 manifests read each other in a circle: `workflow.toml` → `c.toml` → `workflow.toml`
      here: this closes the circle
      workflow.toml:1:32 `c.toml` is read here
    manifest::path-leaves c.toml:1:29 `../x.toml` leads out of the project
      help: declare it in `[sources]` with `outside = true`
    "#);
}

#[test]
fn a_fan_without_brackets_says_how_many_there_are() {
    let fixture = FIXTURES.iter().find(|it| it.0 == "fanned").unwrap();
    assert_snapshot!(said(fixture.1), @r#"
    manifest::fanned workflow.toml:7:12 step `a` has 2 instances (`each`)
      help: `${steps.a[*].o}` is all of them, `${steps.a[VALUE].o}` one
    "#);
}

#[test]
fn a_variant_that_breaks_a_bound_is_blamed_with_its_place() {
    let text = "[params]\nn = 5\n[variants]\nbig = { n = 50 }\n[steps.a]\nop = 'sample'\n\
        in = { data = 'x' }\nwith = { rate = 1, count = '${params.n}' }\n";
    assert_snapshot!(said(text), @r#"
    manifest::bad-value workflow.toml:8:28 `count` is 50 and must be at most 10
      workflow.toml:4:13 the value of `n`
    "#);
}

#[test]
fn bytes_that_are_no_text_are_named_by_their_offset() {
    let files = Memory::bytes("workflow.toml", b"[params]\na = '\xff'\n");
    assert_snapshot!(mistakes(&files), @r#"
    manifest::not-utf8 `workflow.toml` is not UTF-8 at byte 14
    "#);
}

#[test]
fn ten_thousand_levels_are_refused() {
    for text in [
        format!("a = {}1", "[".repeat(10_000)),
        format!("a = {}", "{ b = ".repeat(10_000)),
        format!("a{} = 1", ".a".repeat(10_000)),
        format!("[a{}]", ".a".repeat(10_000)),
    ] {
        let found = mistakes(&Memory::with(&[("workflow.toml", &text)]));
        assert_eq!(found.0[0].code, "manifest::too-deep", "{found}");
    }
}

#[test]
fn a_file_that_is_too_large_is_not_read() {
    let files = Memory::bytes("workflow.toml", &vec![b'#'; plan::MAX_BYTES + 1]);
    assert_eq!(mistakes(&files).0[0].code, "manifest::too-large");
}

#[test]
fn a_newer_format_is_all_that_is_said() {
    let text = "[workflow]\nformat = 9\n[stepz]\nx = nan\n";
    assert_snapshot!(said(text), @r#"
    manifest::format-too-new workflow.toml:2:10 manifest format 9 is newer than 1
      help: this program is too old for this manifest
    "#);
}

#[test]
fn words_of_other_tools_are_told_ours() {
    let text =
        "[steps.a]\nkind = 'ingest'\ndeps = []\nparams = {}\ncmd = 'x'\noutputs = []\nneeds = []\n";
    assert_snapshot!(said(text), @r#"
    manifest::unknown-key workflow.toml:2:1 a step has no key `kind`
      help: it is called `op` here
    manifest::unknown-key workflow.toml:3:1 a step has no key `deps`
      help: it is called `in` here
    manifest::unknown-key workflow.toml:4:1 a step has no key `params`
      help: it is called `with` here
    manifest::unknown-key workflow.toml:5:1 a step has no key `cmd`
      help: it is called `run` here
    manifest::unknown-key workflow.toml:6:1 a step has no key `outputs`
      help: it is called `out` here
    manifest::unknown-key workflow.toml:7:1 a step has no key `needs`
      help: it is called `in` here
    "#);
}

#[test]
fn a_value_where_a_table_is_wanted_is_shown_in_one() {
    let text = "[steps.a]\nrun = ['f']\nretries = 1\ncheckpoint = '10m'\nenv = 3\n\
        [steps.b]\nrun = ['f']\ncheckpoint = 2\nretries = ['exit']\n";
    assert_snapshot!(said(text), @r#"
    manifest::wrong-type workflow.toml:3:11 `retries` is an integer, expected a table
      help: write `retries = { max = 1 }`
    manifest::wrong-type workflow.toml:4:14 `checkpoint` is a string, expected a table
      help: write `checkpoint = { every = "10m" }`
    manifest::wrong-type workflow.toml:5:7 `env` is an integer, expected a table
    manifest::wrong-type workflow.toml:8:14 `checkpoint` is an integer, expected a table
    manifest::wrong-type workflow.toml:9:11 `retries` is a list, expected a table
    "#);
}

#[test]
fn several_inputs_where_one_is_wanted_are_told_of_concat() {
    let text = "[steps.a]\nop = 'ingest'\nin = { data = ['x', 'y'] }\n\
        [steps.b]\nrun = ['f']\neach = { x = [1, 2] }\nout = { o = 'file' }\n\
        [steps.c]\nop = 'ingest'\nin = { data = '${steps.b[*].o}' }\n";
    assert_snapshot!(said(text), @r#"
    manifest::too-many-inputs workflow.toml:3:8 `data` takes one input and is given 2
      help: files are made one by a step with `op = "concat"`
    "#);
    let text = text.split_once("[steps.b]").unwrap().1;
    assert_snapshot!(said(&format!("[steps.b]{text}")), @r#"
    manifest::too-many-inputs workflow.toml:7:15 `data` takes one input and is given 2
      help: files are made one by a step with `op = "concat"`
    "#);
}
