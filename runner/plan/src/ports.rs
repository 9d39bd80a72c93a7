//! What an instance reads, by port: a map for the few ports that a step has, in the order of their
//! names. A B-tree would take half a kilobyte for the first of them.

use std::ops::Index;

use crate::graph::Input;

/// Ports to inputs, sorted by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ports(Vec<Port>);

type Port = (String, Vec<Input>);

impl Ports {
    /// What a port is given, in order.
    pub fn get(&self, port: &str) -> Option<&Vec<Input>> {
        self.find(port).ok().map(|i| &self.0[i].1)
    }

    /// Sets what a port is given; what it was given before comes back.
    pub fn insert(&mut self, port: String, inputs: Vec<Input>) -> Option<Vec<Input>> {
        match self.find(&port) {
            Ok(i) => Some(std::mem::replace(&mut self.0[i].1, inputs)),
            Err(i) => {
                self.0.reserve_exact(1); // mostly the only one
                self.0.insert(i, (port, inputs));
                None
            }
        }
    }

    /// How many ports there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Ports with what they are given.
    pub fn iter(&self) -> impl Iterator<Item = (&String, &Vec<Input>)> {
        self.into_iter()
    }

    /// What each port is given.
    pub fn values(&self) -> impl Iterator<Item = &Vec<Input>> {
        self.0.iter().map(|it| &it.1)
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut Vec<Input>> {
        self.0.iter_mut().map(|it| &mut it.1)
    }

    fn find(&self, port: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|it| it.0.as_str().cmp(port))
    }
}

impl FromIterator<Port> for Ports {
    fn from_iter<T: IntoIterator<Item = Port>>(all: T) -> Self {
        let mut ports = Self::default();
        for (port, inputs) in all {
            ports.insert(port, inputs);
        }
        ports
    }
}

impl Index<&str> for Ports {
    type Output = Vec<Input>;

    fn index(&self, port: &str) -> &Vec<Input> {
        self.get(port).expect("the caller knows the port")
    }
}

impl<'a> IntoIterator for &'a Ports {
    type Item = (&'a String, &'a Vec<Input>);
    type IntoIter = std::iter::Map<std::slice::Iter<'a, Port>, fn(&'a Port) -> Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter().map(|it| (&it.0, &it.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_sorted_and_each_is_there_once() {
        let given = |i: usize| vec![Input::Source(i)];
        let mut ports = Ports::from_iter([("b".into(), given(1)), ("a".into(), given(2))]);
        assert_eq!(ports.insert("b".into(), given(3)), Some(given(1)));
        assert_eq!(ports.insert("c".into(), vec![]), None);
        let names: Vec<&str> = ports.iter().map(|it| it.0.as_str()).collect();
        assert_eq!(names, ["a", "b", "c"]);
        assert_eq!((ports.get("b"), ports.get("d")), (Some(&given(3)), None));
    }
}
