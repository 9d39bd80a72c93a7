//! `kun schema`.

use crate::project::Project;

#[test]
fn it_is_a_schema_that_knows_the_kinds() {
    let text = Project::with(&[]).good("schema");
    for it in ["json-schema.org", "\"concat\"", "\"sample\"", "\"variants\""] {
        assert!(text.contains(it), "nothing of {it}");
    }
}
