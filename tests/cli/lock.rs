//! `kun lock`.

use insta::assert_snapshot;

use crate::project::Project;

#[test]
fn a_lock_holds_sources_and_results() {
    let project = Project::new();
    project.good("run");
    assert_snapshot!(project.run("lock"), @"
    exit 0
    --- stderr
          Locked 6 lines in `kun.lock`
    ");
    assert_snapshot!(project.read("kun.lock"), @"
    key all b3:e42b8f422e6b953f282db7f397dccee66f4c46b129e5ac69ec3cb5c8c7beabc6
    key numbers b3:426f913270ad26ccae62f329f81b5e148290f729440426a37c67e7443bba582d
    output all.data b3:3e4f9109ab23ce205567dcb263408401ce1b320f8ead539edf8eba9b19733874
    output numbers.metrics b3:91d766c9a746990eac5285a9d16197a8c1cb1f4f5b87f093c77e40007dd40f53
    source texts/one.txt b3:ddae417662609906d020dee6b3c6e688bacc0bb3f26ee344c8d19c90cbf899a1
    source texts/two.txt b3:9b6462d460a45993fbef2a5b1fe30d86be57d8c82fa1161cd5efe56835a9c5b9
    ");
    assert_snapshot!(project.run("lock --check"), @"
    exit 0
    --- stderr
            Good 6 lines in `kun.lock` hold
    ");
    project.append("texts/one.txt", "more\n");
    assert_snapshot!(project.run("lock --check"), @"
    exit 1
    --- stdout
    key all: locked, and not made yet
    key numbers: locked, and not made yet
    output all.data: locked, and not made yet
    output numbers.metrics: locked, and not made yet
    source texts/one.txt: locked b3:ddae417662609906d020dee6b3c6e688bacc0bb3f26ee344c8d19c90cbf899a1, is b3:f1b90d18eef9e1de6df378aa66dd59022a9bb58f486752b9f7cd6155f75038b3
    ");
    assert_snapshot!(project.run("lock --check --json"), @r#"
    exit 1
    --- stdout
    {"lines":{"source texts/one.txt":"b3:f1b90d18eef9e1de6df378aa66dd59022a9bb58f486752b9f7cd6155f75038b3","source texts/two.txt":"b3:9b6462d460a45993fbef2a5b1fe30d86be57d8c82fa1161cd5efe56835a9c5b9"},"differences":["key all: locked, and not made yet","key numbers: locked, and not made yet","output all.data: locked, and not made yet","output numbers.metrics: locked, and not made yet","source texts/one.txt: locked b3:ddae417662609906d020dee6b3c6e688bacc0bb3f26ee344c8d19c90cbf899a1, is b3:f1b90d18eef9e1de6df378aa66dd59022a9bb58f486752b9f7cd6155f75038b3"]}
    "#);
    project.good("run");
    assert_snapshot!(project.run("lock --json"), @r#"
    exit 0
    --- stdout
    {"lines":{"key all":"b3:42c63ac856dd3527082b8286d6aa3c5e9531402fa62f80cab6b1b212d5d6b6a4","key numbers":"b3:b25f450599f76a1c367e102e152e30ef9ec41b04791d037a606afe8a29e194e7","output all.data":"b3:3bcf3784b7fff3890b51cd979192acba387f442bb9cdb31f98eac82306ad4331","output numbers.metrics":"b3:179fe612e750af5bac766446264702ececf1eefd3a241b2c77efac6862f60d56","source texts/one.txt":"b3:f1b90d18eef9e1de6df378aa66dd59022a9bb58f486752b9f7cd6155f75038b3","source texts/two.txt":"b3:9b6462d460a45993fbef2a5b1fe30d86be57d8c82fa1161cd5efe56835a9c5b9"},"differences":[]}
    --- stderr
          Locked 6 lines in `kun.lock`
    "#);
}
