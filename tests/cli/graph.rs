//! `kun graph`.

use insta::assert_snapshot;

use crate::project::Project;

#[test]
fn a_graph_is_drawn_in_four_languages() {
    let project = Project::new();
    assert_snapshot!(project.run("graph"), @r##"
    exit 0
    --- stdout
    digraph "first" {
      rankdir=LR;
      node [shape=box, style="rounded,filled", fontname="sans-serif"];
      n0 [label="one", fillcolor="#f3f4f6", color="#6b7280"];
      n1 [label="two", fillcolor="#f3f4f6", color="#6b7280"];
      n2 [label="marked[one]", fillcolor="#fffbeb", color="#d97706"];
      n3 [label="marked[two]", fillcolor="#fffbeb", color="#d97706"];
      n4 [label="all", fillcolor="#fffbeb", color="#d97706"];
      n5 [label="numbers", fillcolor="#fffbeb", color="#d97706"];
      n0 -> n2;
      n1 -> n3;
      n2 -> n4;
      n3 -> n4;
      n4 -> n5;
    }
    "##);
    project.good("run");
    assert_snapshot!(project.run("graph --format mermaid"), @r#"
    exit 0
    --- stdout
    flowchart LR
      n0["one"]:::source
      n1["two"]:::source
      n2["marked[one]"]:::cached
      n3["marked[two]"]:::cached
      n4["all"]:::cached
      n5["numbers"]:::cached
      n0 --> n2
      n1 --> n3
      n2 --> n4
      n3 --> n4
      n4 --> n5
      classDef source fill:#f3f4f6,stroke:#6b7280,color:#111827
      classDef cached fill:#ecfdf5,stroke:#059669,color:#111827
    "#);
    let svg = project.good("graph --format svg");
    assert!(svg.contains("<svg ") && svg.contains("marked[one]"), "{svg}");
    assert_snapshot!(project.run("graph --json"), @r#"
    exit 0
    --- stdout
    {"title":"first","nodes":[{"name":"one","class":"source"},{"name":"two","class":"source"},{"name":"marked[one]","class":"cached"},{"name":"marked[two]","class":"cached"},{"name":"all","class":"cached"},{"name":"numbers","class":"cached"}],"edges":[[0,2],[1,3],[2,4],[3,4],[4,5]]}
    "#);
    assert_eq!(project.good("graph --json"), project.good("graph --format json"));
}
