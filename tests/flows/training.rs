//! A model that is trained while everything is killed: the bytes are those of a run in peace.

use rustix::process::{Signal, kill_process};

use crate::place::{Place, files, pid, until};
use crate::rot::flip;

const WORKFLOW: &str = "[workflow]\nname = 'training'\nformat = 1\n[sources]\na = { path = 'a.jsonl' }\n\
    [steps.words]\nop = 'tokenizer'\nin = { data = '${sources.a}' }\nwith = { vocab_size = 512 }\n\
    [steps.fresh]\nop = 'init'\nin = { tokenizer = '${steps.words.tokenizer}' }\n\
    with = { hidden_size = 32, num_hidden_layers = 2, num_attention_heads = 4, \
    intermediate_size = 64, max_position_embeddings = 64 }\n\
    [steps.chat]\nop = 'sft'\nin = { model = '${steps.fresh.model}', data = ['${sources.a}'] }\n\
    with = { learning_rate = 0.01, max_steps = 400, batch_size = 4, max_seq_len = 64, \
    save_steps = 20, eval_steps = 50, val_size = 2 }\n";

fn place() -> Place {
    let place = Place::new();
    place.write("workflow.toml", WORKFLOW);
    let record = |n: usize| format!("{{\"prompt\":\"{n} rain?\",\"completion\":\"river {n}\"}}\n");
    place.write("a.jsonl", (0..20).map(record).collect::<String>());
    place
}

/// The step of the newest checkpoint; 0 where there is none.
fn checkpoint(place: &Place) -> u64 {
    let name = |it: &std::path::PathBuf| {
        let folder = it.parent()?.file_name()?.to_str()?.strip_prefix("step-")?.to_owned();
        folder.parse().ok()
    };
    let states = files(&place.root().join(".kun/store/part"));
    states.iter().filter_map(name).max().unwrap_or(0)
}

#[test]
fn a_training_run_that_is_killed_ends_with_the_bytes_of_one_that_is_not() {
    let peace = place();
    peace.good("run -q");
    let war = place();
    let mut reached = 0;
    for kills_worker in [true, false, true] {
        let mut run = war.start("run");
        until("a later checkpoint", || checkpoint(&war) > reached || run.has_ended());
        assert!(!run.has_ended(), "{}", run.said());
        if kills_worker {
            for it in run.children() {
                let _ = kill_process(pid(it), Signal::KILL);
            }
        }
        run.signal(if kills_worker { Signal::KILL } else { Signal::INT });
        run.wait();
        reached = checkpoint(&war);
    }
    assert!(reached >= 3, "{reached}");
    war.good("run -q --break-orphans");
    assert!(war.results() == peace.results());
    assert!(peace.results().contains_key("chat/model/model.safetensors"));
}

/// Ends a run once it has left a checkpoint.
fn interrupted() -> Place {
    let place = place();
    let mut run = place.start("run -q");
    until("a checkpoint", || checkpoint(&place) > 0 || run.has_ended());
    assert!(!run.has_ended(), "{}", run.said());
    run.signal(Signal::INT);
    run.wait();
    place
}

#[test]
fn a_damaged_checkpoint_or_log_is_said_and_never_gone_on_from() {
    let peace = place();
    peace.good("run -q");
    let (aside, anew) = ("is damaged and is not gone on from", "is damaged: it begins anew");
    for (name, said, repairs) in [
        ("v.bin", aside, false),
        ("state.json", aside, true),
        ("log.kept", anew, false),
        ("log.kept", anew, true),
        // It is for who watches, and written anew from what is kept.
        ("log.jsonl", "goes on after step", false),
    ] {
        let place = interrupted();
        let all = files(&place.root().join(".kun/store/part"));
        let path = all.iter().find(|it| it.ends_with(name)).expect(name);
        flip(path, 1001);
        let (code, verified) = place.end("verify");
        assert_eq!(code, i32::from(name != "log.jsonl"), "{name}: {verified}");
        if repairs {
            place.good("verify --repair");
            place.good("verify");
        }
        let screen = place.good("run");
        assert!(repairs || screen.contains(said), "{name}: {screen}");
        assert!(place.results() == peace.results(), "{name}: {screen}");
    }
}
