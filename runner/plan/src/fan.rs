//! The values of `each` and their labels: what an instance is called after its step's name.

use std::collections::HashSet;

use crate::Value;

/// The labels of an axis' values, in their order.
///
/// A text is its own label, quoted where it could be read as something else: where it holds one of
/// `,[]@"*?` or a blank, where it is empty, or where another value looks the same.
pub(crate) fn labels(values: &[Value]) -> Vec<String> {
    let others: HashSet<String> =
        values.iter().filter(|it| !matches!(it, Value::Text(_))).map(Value::to_string).collect();
    let label = |it: &Value| match it {
        Value::Text(text) if is_plain(text) && !others.contains(text) => text.clone(),
        it => it.to_string(),
    };
    values.iter().map(label).collect()
}

fn is_plain(text: &str) -> bool {
    let odd = |it: char| ",[]@\"*?{}$".contains(it) || it.is_whitespace() || it.is_control();
    !text.is_empty() && !text.starts_with("each.") && !text.contains(odd)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_quoted_where_they_could_be_mistaken() {
        let values = ["a", "a,b", "x@y", "1", "true", ""].map(|it| Value::Text(it.to_owned()));
        let mut values = values.to_vec();
        values.extend([Value::Int(1), Value::Float(0.5)]);
        assert_eq!(
            labels(&values),
            ["a", "\"a,b\"", "\"x@y\"", "\"1\"", "true", "\"\"", "1", "0.5"]
        );
    }
}
