//! Thrift's compact protocol, as far as Parquet's headers need it: into a small tree of values, of
//! which unknown parts are passed over.

use std::collections::BTreeMap;
use std::io::Read;

use super::Wrong;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Bool(bool),
    Int(i64),
    Double,
    Bytes(Vec<u8>),
    List(Vec<Value>),
    Struct(Fields),
}

/// The fields of a structure, by number.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Fields(BTreeMap<i64, Value>);

impl Fields {
    pub(super) fn int(&self, field: i64) -> Option<i64> {
        match self.0.get(&field) {
            Some(Value::Int(it)) => Some(*it),
            _ => None,
        }
    }

    pub(super) fn bool(&self, field: i64) -> Option<bool> {
        match self.0.get(&field) {
            Some(Value::Bool(it)) => Some(*it),
            _ => None,
        }
    }

    pub(super) fn text(&self, field: i64) -> Option<String> {
        match self.0.get(&field) {
            Some(Value::Bytes(it)) => Some(String::from_utf8_lossy(it).into_owned()),
            _ => None,
        }
    }

    pub(super) fn list(&self, field: i64) -> &[Value] {
        match self.0.get(&field) {
            Some(Value::List(it)) => it,
            _ => &[],
        }
    }

    pub(super) fn inner(&self, field: i64) -> Option<&Fields> {
        match self.0.get(&field) {
            Some(Value::Struct(it)) => Some(it),
            _ => None,
        }
    }
}

/// Deeper than any header is.
const DEEPEST: usize = 24;

/// Reads a structure. Nothing is allocated before its bytes are there.
pub(super) fn read(from: &mut dyn Read) -> Result<Fields, Wrong> {
    Reader { from }.fields(0)
}

struct Reader<'a> {
    from: &'a mut dyn Read,
}

impl Reader<'_> {
    fn fields(&mut self, depth: usize) -> Result<Fields, Wrong> {
        if depth > DEEPEST {
            return Err(Wrong::form("a header is nested too deeply"));
        }
        let (mut fields, mut number) = (Fields::default(), 0_i64);
        loop {
            let head = self.byte()?;
            if head == 0 {
                return Ok(fields);
            }
            number = match head >> 4 {
                0 => self.zigzag()?,
                step => number.saturating_add(i64::from(step)),
            };
            let value = match head & 15 {
                1 => Value::Bool(true),
                2 => Value::Bool(false),
                kind => self.value(kind, depth)?,
            };
            fields.0.insert(number, value);
        }
    }

    fn value(&mut self, kind: u8, depth: usize) -> Result<Value, Wrong> {
        Ok(match kind {
            1 | 2 => Value::Bool(self.byte()? == 1),
            3 => Value::Int(i64::from(self.byte()? as i8)),
            4..=6 => Value::Int(self.zigzag()?),
            7 => {
                self.bytes(8)?;
                Value::Double
            }
            8 => {
                let n = self.varint()?;
                Value::Bytes(self.bytes(n)?)
            }
            9 | 10 => {
                let head = self.byte()?;
                let n = match head >> 4 {
                    15 => self.varint()?,
                    n => u64::from(n),
                };
                let mut all = Vec::new();
                for _ in 0..n {
                    all.push(self.value_below(head & 15, depth)?);
                }
                Value::List(all)
            }
            11 => {
                let n = self.varint()?;
                let kinds = if n == 0 { 0 } else { self.byte()? };
                for _ in 0..n {
                    self.value_below(kinds >> 4, depth)?;
                    self.value_below(kinds & 15, depth)?;
                }
                Value::List(Vec::new())
            }
            12 => Value::Struct(self.fields(depth + 1)?),
            _ => return Err(Wrong::form("a header has a field of no known type")),
        })
    }

    fn value_below(&mut self, kind: u8, depth: usize) -> Result<Value, Wrong> {
        if depth >= DEEPEST {
            return Err(Wrong::form("a header is nested too deeply"));
        }
        self.value(kind, depth + 1)
    }

    fn byte(&mut self) -> Result<u8, Wrong> {
        let mut byte = [0];
        self.from.read_exact(&mut byte)?;
        Ok(byte[0])
    }

    fn bytes(&mut self, n: u64) -> Result<Vec<u8>, Wrong> {
        let mut bytes = Vec::new();
        (&mut *self.from).take(n).read_to_end(&mut bytes)?;
        match bytes.len() as u64 == n {
            true => Ok(bytes),
            false => Err(Wrong::form("a header ends early")),
        }
    }

    fn varint(&mut self) -> Result<u64, Wrong> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 127) << shift;
            if byte < 128 {
                return Ok(value);
            }
        }
        Err(Wrong::form("a header has a number that does not end"))
    }

    fn zigzag(&mut self) -> Result<i64, Wrong> {
        let it = self.varint()?;
        Ok((it >> 1) as i64 ^ -((it & 1) as i64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_by_number_and_others_passed_over() {
        // 1: -2; 2: "ab"; 4: [1, 2]; 20: true; 21: {1: 3}; a map.
        let bytes =
            b"\x15\x03\x18\x02ab\x29\x25\x02\x04\x01\x28\x1c\x15\x06\x00\x1b\x01\x58\x02\x01x\x00";
        let fields = read(&mut &bytes[..]).unwrap();
        assert_eq!((fields.int(1), fields.text(2).as_deref()), (Some(-2), Some("ab")));
        assert_eq!(fields.list(4), [Value::Int(1), Value::Int(2)]);
        assert_eq!(
            (fields.bool(20), fields.inner(21).and_then(|it| it.int(1))),
            (Some(true), Some(3))
        );
        assert_eq!((fields.int(2), fields.list(9).len()), (None, 0));
    }

    #[test]
    fn spoilt_headers_are_errors() {
        assert!(read(&mut &[0x1c; 900][..]).is_err());
        assert!(read(&mut &b"\x18\xff\xff\xff\xff\x0fa"[..]).is_err());
        assert!(read(&mut &b"\x19\xf5\xff\xff\xff\xff\xff\xff\xff\x7f"[..]).is_err());
        assert!(read(&mut &[0x19, 0x19].repeat(400)[..]).is_err());
        assert!(read(&mut &b"\x15"[..]).is_err());
    }
}
