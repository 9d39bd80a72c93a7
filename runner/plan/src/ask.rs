//! What a caller wants of a workflow: targets, variants, parameters set by hand.

/// What is wanted; the default: the workflow's own targets with the parameters as they stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ask {
    /// Patterns over addresses (`*` and `?` are wild): `step`, `step[each]`, `step@variant`,
    /// `eval*`. Empty: what `[workflow] targets` names, else every step that no other reads.
    pub targets: Vec<String>,
    /// Patterns over variants. Empty: the parameters as they stand in `[params]`.
    pub variants: Vec<String>,
    /// Parameters set by hand, over those of every variant: dotted name and TOML value.
    pub sets: Vec<(String, String)>,
}
