//! How the two processes write to each other: a length, and a JSON value in a binary form.
//!
//! Not JSON's text: a number with a fraction would be printed and read again on the way, and might
//! come out as its neighbour.

use std::io::{self, Read, Write};

use serde_json::{Map, Number, Value as Json};

use super::Context;

const NULL: u8 = b'n';
const FALSE: u8 = b'0';
const TRUE: u8 = b'1';
const UNSIGNED: u8 = b'u';
const SIGNED: u8 = b'i';
const FLOAT: u8 = b'f';
const TEXT: u8 = b's';
const ARRAY: u8 = b'a';
const OBJECT: u8 = b'o';

/// Writes one message.
pub(super) fn send(to: &mut impl Write, body: &[u8]) -> io::Result<()> {
    to.write_all(&(body.len() as u64).to_le_bytes())?;
    to.write_all(body)?;
    to.flush()
}

/// Reads one message of at most `limit` bytes; none at the end of the stream.
pub(super) fn receive(from: &mut impl Read, limit: usize) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 8];
    match from.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let length = u64::from_le_bytes(length);
    if length > limit as u64 {
        return Err(broken("a message is too long"));
    }
    let mut body = Vec::new();
    from.take(length).read_to_end(&mut body)?;
    if (body.len() as u64) < length {
        return Err(broken("a message is cut off"));
    }
    Ok(Some(body))
}

pub(super) fn encode(value: &Json, out: &mut Vec<u8>) {
    match value {
        Json::Null => out.push(NULL),
        Json::Bool(false) => out.push(FALSE),
        Json::Bool(true) => out.push(TRUE),
        Json::Number(it) => encode_number(it, out),
        Json::String(it) => {
            out.push(TEXT);
            bytes(it.as_bytes(), out);
        }
        Json::Array(all) => {
            out.push(ARRAY);
            length(all.len(), out);
            all.iter().for_each(|it| encode(it, out));
        }
        Json::Object(map) => {
            out.push(OBJECT);
            length(map.len(), out);
            for (key, value) in map {
                bytes(key.as_bytes(), out);
                encode(value, out);
            }
        }
    }
}

/// A request to render: the limit and the variables, without a copy of their values.
pub(super) fn encode_request(limit: usize, context: &Context<'_>, out: &mut Vec<u8>) {
    out.push(ARRAY);
    length(2, out);
    encode(&Json::from(limit), out);
    out.push(OBJECT);
    length(context.len(), out);
    for (name, value) in context {
        bytes(name.as_bytes(), out);
        encode(value, out);
    }
}

fn encode_number(number: &Number, out: &mut Vec<u8>) {
    if let Some(it) = number.as_u64() {
        out.push(UNSIGNED);
        out.extend(it.to_le_bytes());
    } else if let Some(it) = number.as_i64() {
        out.push(SIGNED);
        out.extend(it.to_le_bytes());
    } else {
        out.push(FLOAT);
        out.extend(number.as_f64().unwrap_or(f64::NAN).to_bits().to_le_bytes());
    }
}

fn length(n: usize, out: &mut Vec<u8>) {
    out.extend((n as u64).to_le_bytes());
}

fn bytes(it: &[u8], out: &mut Vec<u8>) {
    length(it.len(), out);
    out.extend_from_slice(it);
}

/// The value that a whole message is.
pub(super) fn decode(mut from: &[u8]) -> io::Result<Json> {
    let value = value(&mut from)?;
    if from.is_empty() { Ok(value) } else { Err(broken("a message goes on behind its value")) }
}

fn value(from: &mut &[u8]) -> io::Result<Json> {
    let [tag] = array(from)?;
    Ok(match tag {
        NULL => Json::Null,
        FALSE => Json::Bool(false),
        TRUE => Json::Bool(true),
        UNSIGNED => u64::from_le_bytes(array(from)?).into(),
        SIGNED => i64::from_le_bytes(array(from)?).into(),
        FLOAT => f64::from_bits(u64::from_le_bytes(array(from)?)).into(),
        TEXT => Json::String(text(from)?),
        ARRAY => {
            let n = u64::from_le_bytes(array(from)?);
            let mut all = Vec::new();
            for _ in 0..n {
                all.push(value(from)?);
            }
            Json::Array(all)
        }
        OBJECT => {
            let n = u64::from_le_bytes(array(from)?);
            let mut map = Map::new();
            for _ in 0..n {
                let key = text(from)?;
                map.insert(key, value(from)?);
            }
            Json::Object(map)
        }
        _ => return Err(broken("a value has no known type")),
    })
}

fn text(from: &mut &[u8]) -> io::Result<String> {
    let n = u64::from_le_bytes(array(from)?);
    let bytes = usize::try_from(n).ok().and_then(|n| from.split_at_checked(n));
    let (bytes, rest) = bytes.ok_or_else(|| broken("a text is cut off"))?;
    *from = rest;
    String::from_utf8(bytes.to_vec()).map_err(|_| broken("a text is not UTF-8"))
}

fn array<const N: usize>(from: &mut &[u8]) -> io::Result<[u8; N]> {
    let (head, rest) = from.split_first_chunk().ok_or_else(|| broken("a value is cut off"))?;
    *from = rest;
    Ok(*head)
}

pub(super) fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_comes_out_as_it_went_in() {
        let value = serde_json::json!({
            "z": [null, true, false, {}, [], ""], "a": "今天\u{0}🙂",
            "numbers": [0, u64::MAX, i64::MIN, -1, 0.1, -0.0, 5e-324, 1.7976931348623157e308,
                0.30000000000000004, 9007199254740993.0],
        });
        let mut out = Vec::new();
        encode(&value, &mut out);
        let read = decode(&out).unwrap();
        assert_eq!(read, value);
        let keys: Vec<&String> = read.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["z", "a", "numbers"]);
        assert!(read["numbers"][5].as_f64().unwrap().is_sign_negative());
    }

    #[test]
    fn a_message_that_is_cut_off_is_an_error() {
        let mut out = Vec::new();
        encode(&serde_json::json!({"a": [1, "text", 0.5]}), &mut out);
        for n in 0..out.len() {
            assert!(decode(&out[..n]).is_err(), "{n}");
        }
        let mut stream = Vec::new();
        send(&mut stream, &out).unwrap();
        assert_eq!(receive(&mut stream.as_slice(), 99).unwrap().unwrap(), out);
        assert!(receive(&mut stream.as_slice(), 9).is_err());
        assert!(receive(&mut &stream[..12], 99).is_err());
        assert!(receive(&mut &stream[..0], 99).unwrap().is_none());
    }
}
