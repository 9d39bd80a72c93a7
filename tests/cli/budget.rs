//! `[budget]`: a run that has spent it stops, says so, and the next goes on.

use insta::assert_snapshot;

use crate::project::Project;

#[test]
fn a_run_whose_time_is_up_stops_and_what_is_done_is_kept() {
    let slow = |budget: &str| {
        format!(
            "[workflow]\nname = 'slow'\nformat = 1\n{budget}\
             [steps.first]\nrun = ['sh', '-c', 'echo x > out/o']\nout = {{ o = 'file' }}\n\
             [steps.second]\nrun = ['sh', '-c', 'sleep ${{with.n}}; cp in/i out/o']\n\
             with = {{ n = 30 }}\nin = {{ i = '${{steps.first.o}}' }}\nout = {{ o = 'file' }}\n"
        )
    };
    let project = Project::with(&[("workflow.toml", &slow("[budget]\nwall = '700ms'\n"))]);
    assert_snapshot!(project.run("run second"), @"
    exit 75
    --- stderr
            Plan 2 steps: 0 cached, 2 run
         Running first: it never ran
         Running second: it never ran
            Done first in [TIME]
        Stopping the budget is used up: `wall` is 700 ms
         Stopped second: what it had done is kept
         Stopped 1 stopped, 1 ran in [TIME]; the same command goes on with a new budget
    ");
    assert_snapshot!(project.run("plan second"), @"
    exit 0
    --- stdout
            runs second  it never ran
    --- stderr
            Plan 2 steps: 1 cached, 1 runs
        Forecast no history: nothing like these steps has run yet
    ");
    let quick = slow("[budget]\nwall = '60s'\n").replace("n = 30", "n = 0");
    project.write("workflow.toml", quick);
    assert_snapshot!(project.run("run second"), @"
    exit 0
    --- stdout
    out/second/o
    --- stderr
            Plan 2 steps: 1 cached, 1 runs
         Running second: it never ran
            Done second in [TIME]
        Finished 1 ran, 1 reused in [TIME]
    ");
}

const ASKING: &str = r#"
[workflow]
name = "asking"
format = 1

[budget]
tokens = 600
records = 1000

[steps.words]
op   = "tokenizer"
in   = { data = "texts.jsonl" }
with = { vocab_size = 512 }

[steps.fresh]
op   = "init"
in   = { tokenizer = "${steps.words.tokenizer}" }
with = { hidden_size = 32, num_hidden_layers = 2, num_attention_heads = 4, num_key_value_heads = 2, intermediate_size = 48, max_position_embeddings = 64 }

[steps.answers]
op   = "generate"
in   = { model = "${steps.fresh.model}", data = "texts.jsonl" }
with = { max_new_tokens = 4, template = "plain", rows = 1 }
"#;

#[test]
fn tokens_are_counted_and_each_run_goes_on_where_the_last_stopped() {
    let line = |it: u32| format!("{{\"prompt\":\"question {it}?\"}}\n");
    let texts: String = (0..200).map(line).collect();
    let project = Project::with(&[("workflow.toml", ASKING), ("texts.jsonl", &texts)]);
    project.good("run fresh");
    let mut n_runs = 0;
    let screen = loop {
        n_runs += 1;
        let output = project.output("run answers");
        let screen = project.screen(&output);
        match output.status.code() {
            Some(0) => break screen,
            code => assert_eq!(code, Some(75), "{screen}"),
        }
        assert!(screen.contains("the budget is used up: `tokens` is 600"), "{screen}");
        assert!(n_runs < 50, "{screen}");
    };
    // All answers together cost thousands, and a run stops soon after its last one.
    assert!(n_runs >= 2, "{n_runs} runs\n{screen}");
    let spent = project.read("out/answers/data.jsonl");
    assert_eq!(spent.lines().count(), 200);
    let unbounded = ASKING.replace("[budget]\ntokens = 600\nrecords = 1000\n", "");
    let other = Project::with(&[("workflow.toml", &unbounded), ("texts.jsonl", &texts)]);
    other.good("run answers");
    assert_eq!(other.read("out/answers/data.jsonl"), spent);
}

#[test]
fn a_plan_that_is_dearer_than_the_budget_says_so() {
    let texts = "{\"prompt\":\"question?\"}\n{\"prompt\":\"answer?\"}\n";
    let manifest = ASKING.replace("tokens = 600\nrecords = 1000", "tokens = 9000\nrecords = 3");
    let project = Project::with(&[("workflow.toml", &manifest), ("texts.jsonl", texts)]);
    project.good("run answers");
    project.write("workflow.toml", manifest.replace("max_new_tokens = 4", "max_new_tokens = 3"));
    project.write("texts.jsonl", texts.repeat(4));
    let screen = project.squeezed("plan answers");
    let warnings: Vec<&str> = screen.lines().filter(|it| it.contains("warning")).collect();
    assert_snapshot!(warnings.join("\n"), @"warning: the budget's `records` is 3, and about 8 are needed: one run will not do");
}

#[test]
fn what_cannot_be_a_budget_is_a_mistake() {
    let project = Project::new();
    project.append("workflow.toml", "\n[budget]\ntime = \"2h\"\ntokens = \"many\"\n");
    assert_snapshot!(project.run("check"), @r#"
    exit 2
    --- stderr
    manifest::unknown-key

      × `[budget]` has no key `time`
        ╭─[workflow.toml:30:1]
     29 │ [budget]
     30 │ time = "2h"
        · ────
     31 │ tokens = "many"
        ╰────
      help: it is called `wall` here

    manifest::wrong-type

      × `tokens` is a string, expected an integer
        ╭─[workflow.toml:31:10]
     30 │ time = "2h"
     31 │ tokens = "many"
        ·          ──────
        ╰────

    2 mistakes
    "#);
}
