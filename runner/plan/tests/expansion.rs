//! From manifest to graph: variants share what they do not change, equal work is one instance.

mod common;

use common::{KINDS, Memory, graph, names, workflow};
use plan::graph::{Piece, Work};
use plan::{Ask, Input, Value};

const KUN: &str = include_str!("kun.toml");

#[test]
fn seven_variants_of_the_complete_example_are_43_instances() {
    let files = Memory::with(&[("workflow.toml", KUN)]);
    let workflow = workflow(&files);
    let ask = Ask { variants: vec!["*".into()], ..Ask::default() };
    let graph = workflow.expand(&ask, &files).unwrap();
    assert_eq!(graph.instances.len(), 43);
    let executions: usize = graph.instances.iter().map(|it| 1 + it.aliases.len()).sum();
    assert_eq!(executions, 104, "105 without sharing, of which one is skipped");
    let shared = graph.instances.iter().filter(|it| it.aliases.len() == 6).count();
    assert_eq!(shared, 10, "nine of the trunk, and the report");
    assert_eq!(graph.targets.len(), 7);
    for (i, it) in graph.instances.iter().enumerate() {
        for input in it.inputs.values().flatten() {
            if let Input::Output { instance, .. } = input {
                assert!(instance.0 < i, "{} reads what comes later", it.address);
            }
        }
    }
    let report = graph.instances.last().unwrap();
    assert_eq!(report.inputs["metrics"].len(), 14);
    assert_eq!(report.inputs["train"].len(), 7);
}

#[test]
fn one_variant_asked_for_by_a_target_needs_only_its_own_steps() {
    let files = Memory::with(&[("workflow.toml", KUN)]);
    let ask = Ask { targets: vec!["evaluate[ceval]@kun-52k-raw".into()], ..Ask::default() };
    let graph = workflow(&files).expand(&ask, &files).unwrap();
    let names = names(&graph);
    assert_eq!(names.len(), 12, "{names:#?}");
    assert_eq!(names.last().unwrap(), "evaluate[ceval]@kun-52k-raw");
    assert!(!names.iter().any(|it| it.starts_with("polish")), "{names:#?}");
}

#[test]
fn a_parameter_set_by_hand_changes_what_refers_to_it_and_its_type_is_kept() {
    let files = Memory::with(&[("workflow.toml", KUN)]);
    let sets = vec![("select.top_k".to_owned(), "75_000".to_owned())];
    let ask = Ask { targets: vec!["select".into()], sets, ..Ask::default() };
    let graph = workflow(&files).expand(&ask, &files).unwrap();
    let select = graph.instances.last().unwrap();
    assert_eq!(select.with["k"], Value::Int(75_000));
    assert_eq!(select.with["where"], Value::Text("score == 'good'".into()));
}

#[test]
fn parameters_at_their_default_are_left_out_and_integers_become_floats() {
    let graph = graph(
        "[steps.a]\nop = 'sample'\nin = { data = 'x.jsonl' }\nwith = { rate = 1, count = 5 }\n",
    );
    assert_eq!(graph.instances[0].with.len(), 1);
    assert_eq!(graph.instances[0].with["rate"], Value::Float(1.0));
    assert!(graph.instances[0].seed.is_some());
}

#[test]
fn equal_steps_are_one_instance_with_two_names() {
    let graph = graph(
        "[steps.b]\nrun = ['cp', '${in.x}', '${out.y}']\nin = { x = 'f' }\nout = { y = 'file' }\n\
         [steps.a]\nrun = ['cp', '${in.x}', '${out.y}']\nin = { x = './f' }\nout = { y = 'file' }\n\
         timeout = '5s'\n",
    );
    assert_eq!(names(&graph), ["b"]);
    assert_eq!(graph.instances[0].aliases[0].to_string(), "a");
    assert_eq!(graph.targets.len(), 2);
    assert_eq!(graph.sources.len(), 1);
}

#[test]
fn a_matrix_is_made_in_the_order_of_the_file_and_odd_labels_are_quoted() {
    let graph = graph(
        "[steps.a]\nrun = ['f', '${each.z}', '${each.b}', '${out.o}']\n\
         each = { z = ['p,q', 'r'], b = [1, 2] }\nout = { o = 'file' }\n\
         [steps.j]\nrun = ['cat', '${in.x}', '${out.o}']\nin = { x = '${steps.a[r,2].o}' }\n\
         out = { o = 'file' }\n[steps.k]\nrun = ['cat', '${in.x}', '${out.o}']\n\
         in = { x = '${steps.a[*].o}' }\nout = { o = 'file' }\n",
    );
    let all = ["a[\"p,q\",1]", "a[\"p,q\",2]", "a[r,1]", "a[r,2]", "j", "k"];
    assert_eq!(names(&graph), all);
    assert_eq!(graph.instances[5].inputs["x"].len(), 4);
    let Work::Program(program) = &graph.instances[0].work else { panic!() };
    assert_eq!(program.argv[1].0, [Piece::Text("p,q".into())]);
}

#[test]
fn a_skipped_step_passes_its_input_through_and_is_left_out_of_fans() {
    let text = "[params]\non = true\n[variants]\noff = { on = false }\n\
         [steps.a]\nrun = ['f', '${out.o}']\nout = { o = 'file' }\n\
         [steps.b]\nwhen = '${params.on}'\nelse = { o = '${steps.a.o}' }\n\
         run = ['g', '${in.x}', '${out.o}']\nin = { x = '${steps.a.o}' }\nout = { o = 'file' }\n\
         [steps.c]\nrun = ['h', '${in.x}', '${out.o}']\nin = { x = '${steps.b.o}' }\n\
         out = { o = 'file' }\n\
         [steps.d]\nwhen = '${params.on}'\nrun = ['d', '${out.o}']\nout = { o = 'file' }\n\
         [steps.e]\nrun = ['e', '${in.x}', '${out.o}']\nin = { x = ['${steps.d[*].o}', 'y'] }\n\
         out = { o = 'file' }\n";
    let files = Memory::with(&[("workflow.toml", text)]);
    let ask = Ask { variants: vec!["off".into()], ..Ask::default() };
    let graph = workflow(&files).expand(&ask, &files).unwrap();
    assert_eq!(names(&graph), ["a@off", "c@off", "e@off"]);
    assert_eq!(graph.instances[2].inputs["x"].len(), 1);
}

#[test]
fn code_patterns_find_files_in_folders_and_hidden_ones_only_by_name() {
    let text = "[steps.a]\nrun = ['f', '${out.o}']\nout = { o = 'file' }\ncode = ['lib/**/*.py']\n";
    let files = Memory::with(&[
        ("workflow.toml", text),
        ("lib/a.py", ""),
        ("lib/x/y/b.py", ""),
        ("lib/x/c.txt", ""),
        ("lib/.git/d.py", ""),
    ]);
    let graph = workflow(&files).expand(&Ask::default(), &files).unwrap();
    assert_eq!(
        graph.instances[0].around.code.keys().collect::<Vec<_>>(),
        ["lib/a.py", "lib/x/y/b.py"]
    );
}

#[test]
fn shell_lines_get_their_values_as_variables() {
    let graph = graph(
        "[params]\na.b = 'x; rm -rf /'\n[steps.a]\nshell = true\n\
         run = 'echo ${params.a.b} > ${out.o}'\nout = { o = 'file' }\n",
    );
    let Work::Program(program) = &graph.instances[0].work else { panic!() };
    let variable = Piece::Variable { name: "params_a_b".into(), value: "x; rm -rf /".into() };
    assert_eq!(program.argv[0].0[1], variable);
}

#[test]
fn what_a_file_extends_lies_below_and_what_it_includes_stands_beside() {
    let files = Memory::with(&[
        ("w.toml", "extends = 'base.toml'\ninclude = ['sub/more.toml']\n[params]\na = 2\n"),
        (
            "base.toml",
            "[params]\na = 1\nb = 1\n[steps.s]\nrun = ['f', '${params.a}', '${params.b}']\n",
        ),
        ("sub/more.toml", "[steps.t]\nrun = ['g', '${in.x}']\nin = { x = 'data' }\n"),
    ]);
    let workflow = plan::read("w.toml".as_ref(), &files, KINDS).unwrap();
    let graph = workflow.expand(&Ask::default(), &files).unwrap();
    assert_eq!(names(&graph), ["s", "t"]);
    assert_eq!(graph.sources[0].path.to_str(), Some("sub/data"));
    let Work::Program(program) = &graph.instances[0].work else { panic!() };
    assert_eq!(program.argv[1].0, [Piece::Text("2".into())]);
    let json = workflow.resolved(&Ask::default()).to_string();
    assert!(json.contains(r#""params":{"a":2,"b":1}"#), "{json}");
}

#[test]
fn a_chain_that_is_written_backwards_is_put_in_order() {
    use std::fmt::Write;
    let mut text = String::new();
    for i in (1..5_000).rev() {
        writeln!(
            text,
            "[steps.s{i}]\nrun = ['f', '${{in.x}}', '${{out.o}}']\nout = {{ o = 'file' }}\n\
             in = {{ x = '${{steps.s{}.o}}' }}",
            i - 1
        )
        .unwrap();
    }
    text += "[steps.s0]\nrun = ['f', '${out.o}']\nout = { o = 'file' }\n";
    let names = names(&graph(&text));
    assert_eq!((names[0].as_str(), names[4_999].as_str()), ("s0", "s4999"));
}

#[test]
fn fifty_thousand_steps_in_one_chain_are_expanded() {
    use std::fmt::Write;
    let mut text = "[steps.s0]\nrun = ['f', '${out.o}']\nout = { o = 'file' }\n".to_owned();
    for i in 1..50_000 {
        writeln!(
            text,
            "[steps.s{i}]\nrun = ['f', '${{in.x}}', '${{out.o}}']\nin = {{ x = '${{steps.s{}.o}}' }}\n\
             out = {{ o = 'file' }}",
            i - 1
        )
        .unwrap();
    }
    assert_eq!(graph(&text).instances.len(), 50_000);
}
