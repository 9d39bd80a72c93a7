//! `kun annotate`: what it says where it serves nothing. The page has a test in a browser.

use insta::assert_snapshot;

use crate::project::Project;

const RECORDS: &str = concat!(
    "{\"instruction\":\"写一首诗\",\"output\":\"春眠不觉晓\"}\n",
    "{\"instruction\":\"1+1?\",\"output\":\"2\"}\n",
);

fn made() -> Project {
    let project = Project::with(&[("a.jsonl", RECORDS)]);
    project.good(
        "annotate s.jsonl --from wudao=a.jsonl --annotators ana,bo --adjudicator eve --status",
    );
    project
}

#[test]
fn a_study_is_made_once_and_says_how_far_everybody_is() {
    let project = Project::with(&[("a.jsonl", RECORDS)]);
    let make = "annotate s.jsonl --from wudao=a.jsonl --annotators ana,bo --status";
    assert_snapshot!(project.run(make), @"
    exit 0
    --- stdout
    ana  0 of 2
    bo   0 of 2
    --- stderr
            Made s.jsonl: 2 to be asked, each of 2
    0 disputed
    ");
    assert_snapshot!(project.run(make), @"
    exit 2
    --- stderr
    error: there is a study `s.jsonl` already

    help: leave out `--from`, and it goes on
    ");
    assert_snapshot!(project.run("annotate s.jsonl --status --json"), @r#"
    exit 0
    --- stdout
    {"annotators":[{"name":"ana","done":0,"asked":2,"adjudicator":false,"away":false},{"name":"bo","done":0,"asked":2,"adjudicator":false,"away":false}],"disputed":0}
    "#);
}

#[test]
fn mistakes_are_said_with_what_to_do() {
    let project =
        Project::with(&[("a.jsonl", RECORDS), ("f.toml", "shown = []\nquestions = []\n")]);
    assert_snapshot!(project.run("annotate s.jsonl"), @"
    exit 2
    --- stderr
    error: there is no study `s.jsonl`

    help: `--from NAME=FILE` makes one from records
    ");
    assert_snapshot!(project.run("annotate s.jsonl --from a.jsonl"), @"
    exit 2
    --- stderr
    error: `--from a.jsonl`: expected NAME=FILE
    ");
    assert_snapshot!(project.run("annotate s.jsonl --from a=a.jsonl"), @"
    exit 2
    --- stderr
    error: nobody is asked

    help: `--annotators ana,bo,chen` says who
    ");
    assert_snapshot!(project.run("annotate s.jsonl --from a=a.jsonl --annotators x --form g"), @"
    exit 2
    --- stderr
    error: no form `g`

    help: the forms are quality, pairwise, pairwise-ties, or a file
    ");
    assert_snapshot!(project.run("annotate s.jsonl --from a=a.jsonl --annotators x --form f.toml"), @"
    exit 2
    --- stderr
    error: form `f.toml`: `shown` names no field
    ");
    assert_snapshot!(project.run("annotate s.jsonl --from a=b.jsonl --annotators x"), @"
    exit 2
    --- stderr
    error: `b.jsonl`: No such file or directory (os error 2)
    ");
    assert_snapshot!(project.run("annotate s.jsonl --from a=a.jsonl --annotators x --raters 2"), @"
    exit 2
    --- stderr
    error: each item needs 2 people, and there are 1
    ");
    assert_snapshot!(project.run("annotate s.jsonl --raters 2"), @"
    exit 2
    --- stderr
    error: the following required arguments were not provided:
      --from <NAME=FILE>

    Usage: kun annotate --from <NAME=FILE> --raters <N> <STUDY>

    For more information, try '--help'.
    ");
}

#[test]
fn a_step_takes_what_people_said_and_is_stale_after_new_votes_only() {
    let project = made();
    let manifest = "[steps.people]\nop = 'annotations'\nin = { study = 's.jsonl' }\nwith = { min_votes = 0 }\n";
    project.write("workflow.toml", manifest);
    project.good("run -q");
    // Pages are made from the study, and it is opened: nothing changes in it.
    project.good("annotate s.jsonl --bundle pages -q");
    assert!(project.run("plan").contains("1 cached, 0 run"));
    let page = project.read("pages/ana.html");
    let data = page.split("id=\"data\">").nth(1).unwrap();
    let field = |name: &str| {
        data.split(&format!("\"{name}\":\"")).nth(1).unwrap().split('"').next().unwrap()
    };
    let (study, secret) = (field("study"), field("secret"));
    let yes = "\"clarity\":\"yes\",\"feasibility\":\"yes\",\"practicality\":\"no\"";
    let said = format!("{{\"place\":0,\"given\":{{\"answers\":{{{yes},\"output\":\"pass\"}}}}}}");
    let back = format!(
        "{{\"study\":\"{study}\",\"name\":\"ana\",\"secret\":\"{secret}\",\"said\":[{said}]}}"
    );
    project.write("back.json", &back);
    assert_snapshot!(project.run("annotate s.jsonl --take back.json"), @"
    exit 0
    --- stderr
            Took back.json: 1 new, 0 known
    ");
    assert!(project.run("plan").contains("0 cached, 1 run"));
    project.good("run -q");
    assert_eq!(project.read("out/people/ratings.jsonl").lines().count(), 1);
    project.write("renamed.json", back.replace("\"ana\"", "\"bo\""));
    assert_snapshot!(project.run("annotate s.jsonl --take renamed.json"), @"
    exit 2
    --- stderr
    error: `renamed.json`: it says `bo` and carries the secret of the page of `ana`
    ");
    std::fs::rename(project.path("s.jsonl.key"), project.path("elsewhere")).unwrap();
    assert_snapshot!(project.run("annotate s.jsonl --take back.json"), @"
    exit 2
    --- stderr
    error: without `s.jsonl.key` nobody knows whose answers these are

    help: it is made with the first pages or links; bring it back beside the study
    ");
    std::fs::rename(project.path("elsewhere"), project.path("s.jsonl.key")).unwrap();
    project.write("other.json", back.replace(study, "0"));
    assert_snapshot!(project.run("annotate s.jsonl --take other.json"), @"
    exit 2
    --- stderr
    error: `other.json`: these are answers to another study
    ");
}

const ONE: &str = "{\"annotator\":\"far\",\"shown\":[\"1+1?\",\"2\"],\"source\":\"wudao\",\"answers\":\
    {\"clarity\":\"yes\",\"output\":\"pass\"}}\n";

#[test]
fn votes_from_elsewhere_come_in_and_all_go_out() {
    let project = made();
    project.write("votes.jsonl", ONE);
    assert_snapshot!(project.run("annotate s.jsonl --import votes.jsonl"), @"
    exit 0
    --- stderr
            Took votes.jsonl: 1 new, 0 known
    ");
    assert_snapshot!(project.run("annotate s.jsonl --status"), @"
    exit 0
    --- stdout
    ana  0 of 2
    bo   0 of 2
    eve  0 of 0
    --- stderr
    1 votes from elsewhere
    0 disputed
    ");
    assert_snapshot!(project.run("annotate s.jsonl --export all.csv"), @"
    exit 0
    --- stderr
           Wrote all.csv
    ");
    assert_snapshot!(project.read("all.csv"), @"
    annotator,by,unit,source,first,second,left,round,question,answer,note,ms,at
    far,person,334d55b1e9d4dcac,wudao,,,,0,clarity,yes,,0,0
    far,person,334d55b1e9d4dcac,wudao,,,,0,output,pass,,0,0
    ");
    assert_snapshot!(project.run("annotate s.jsonl --export all.xml"), @"
    exit 2
    --- stderr
    error: `all.xml`: no format of votes ends so

    help: there are `.jsonl`, `.csv`, and `.json` for Label Studio
    ");
    project.write("votes.jsonl", ONE.replace("pass", "poor"));
    assert_snapshot!(project.run("annotate s.jsonl --import votes.jsonl"), @"
    exit 2
    --- stderr
    error: votes.jsonl:1: `poor` is no answer to `output`
    ");
}

#[test]
fn what_somebody_leaves_goes_to_others() {
    let project = Project::with(&[("a.jsonl", RECORDS)]);
    project.good("annotate s.jsonl --from a=a.jsonl --annotators ana,bo,chen --raters 2 --status");
    assert_snapshot!(project.run("annotate s.jsonl --away ana"), @"
    exit 0
    --- stderr
       Handed on what `ana` was still to be asked
    ");
    assert_snapshot!(project.run("annotate s.jsonl --status"), @"
    exit 0
    --- stdout
    ana   0 of 0, away
    bo    0 of 2
    chen  0 of 2
    --- stderr
    0 disputed
    ");
    assert_snapshot!(project.run("annotate s.jsonl --away bo"), @"
    exit 0
    --- stderr
       Handed on what `bo` was still to be asked
    warning: 2 have fewer people than was settled: all others are asked already
    ");
    assert_snapshot!(project.run("annotate s.jsonl --away dan"), @"
    exit 2
    --- stderr
    error: nobody is called `dan`
    ");
}

#[test]
fn votes_that_were_kept_aside_come_back_before_anything_else() {
    let project = made();
    let whole = project.read("s.jsonl");
    let unsaved = "{\"line\":\"unsaved\",\"annotator\":\"ana\",\"unit\":\"334d55b1e9d4dcac\",\"answers\":\
        {\"clarity\":\"yes\",\"feasibility\":\"yes\",\"practicality\":\"yes\",\"output\":\"pass\"}}\n";
    project.write("s.jsonl.recovery", format!("{whole}{unsaved}"));
    assert_snapshot!(project.run("annotate s.jsonl --export all.csv"), @"
    exit 2
    --- stderr
    error: `s.jsonl.recovery` holds votes that may not be in `s.jsonl`

    help: `kun annotate s.jsonl --recover` brings them in
    ");
    assert_snapshot!(project.run("annotate s.jsonl --status"), @"
    exit 0
    --- stdout
    ana  0 of 2
    bo   0 of 2
    eve  0 of 0
    --- stderr
    warning: `s.jsonl.recovery` holds votes that may not be counted here; `kun annotate s.jsonl --recover` brings them in
    0 disputed
    ");
    project.write("s.jsonl", "something else\n");
    assert_snapshot!(project.run("annotate s.jsonl --recover"), @"
    exit 2
    --- stderr
    error: s.jsonl:1: expected value at line 1 column 1

    help: put back the `s.jsonl` that was served; or move it away, and `--recover` makes it anew from `s.jsonl.recovery`
    ");
    std::fs::remove_file(project.path("s.jsonl")).unwrap();
    assert_snapshot!(project.run("annotate s.jsonl --recover"), @"
    exit 0
    --- stderr
       Recovered s.jsonl, which was made whole: 1 new, 0 known
    the votes that were kept aside lie in s.jsonl.recovered now
    ");
    assert!(project.run("annotate s.jsonl --status").contains("ana  1 of 2"));
    assert_snapshot!(project.run("annotate s.jsonl --recover"), @"
    exit 2
    --- stderr
    error: there is nothing to recover: no `s.jsonl.recovery`
    ");
}

#[test]
fn what_a_page_is_served_with_is_looked_at_before_anybody_is_asked() {
    let project = made();
    project.write("cert.pem", "no certificate");
    assert_snapshot!(project.run("annotate s.jsonl --tls-cert cert.pem --tls-key cert.pem"), @"
    exit 2
    --- stderr
            Made s.jsonl.key: the secret behind links, sides and pages; keep it beside the study, and to yourself
    error: `cert.pem` holds no certificate in PEM
    ");
    assert_snapshot!(project.run("annotate s.jsonl --public-name https://study.example"), @"
    exit 2
    --- stderr
    error: `--public-name https://study.example` is no name of a machine, and no address

    help: a name as in `study.example.org`, without `https://` and without a port
    ");
}
