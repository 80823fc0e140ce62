// SPDX-License-Identifier: Apache-2.0
//! The bytes of messages, as the D-Bus specification draws them ("Message Protocol"): what we send
//! is little-endian; replies come in the order of bytes that their first one names.

use crate::plan::systemd::value::{Value, single};

/// A header that is longer than this, or a body, is no reply to anything that we ask.
pub const LONGEST: usize = 1 << 20;

/// The part of a header that has always the same length.
pub const FIXED: usize = 16;

/// What kind of message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Call,
    Return,
    Error,
    Signal,
}

/// One message that came in.
#[derive(Debug)]
pub struct Message {
    pub kind: Kind,
    /// The serial number of the call that it answers.
    pub reply_to: u32,
    /// A signal's name.
    pub member: String,
    /// An error's name.
    pub error: String,
    pub body: Vec<Value>,
}

/// A method call.
pub struct Call<'a> {
    pub destination: &'a str,
    pub path: &'a str,
    pub interface: &'a str,
    pub member: &'a str,
    pub body: &'a [Value],
}

impl Call<'_> {
    /// The whole message.
    pub fn encode(&self, serial: u32) -> Vec<u8> {
        let mut body = Writer::default();
        self.body.iter().for_each(|value| body.value(value));
        let signature: String = self.body.iter().map(Value::signature).collect();
        let mut out = Writer(vec![b'l', 1, 0, 1]);
        out.u32(body.0.len() as u32);
        out.u32(serial);
        out.array(8, |out| {
            for (code, value) in [
                (1, Value::Path(self.path.to_owned())),
                (2, Value::str(self.interface)),
                (3, Value::str(self.member)),
                (6, Value::str(self.destination)),
            ] {
                out.align(8);
                out.0.push(code);
                out.variant(&value);
            }
            if !signature.is_empty() {
                out.align(8);
                // The signature of a signature.
                out.0.extend([8, 1, b'g', 0]);
                out.signature(&signature);
            }
        });
        out.align(8);
        out.0.extend(body.0);
        out.0
    }
}

#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn align(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }

    fn u32(&mut self, number: u32) {
        self.align(4);
        self.0.extend(number.to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.u32(text.len() as u32);
        self.0.extend(text.as_bytes());
        self.0.push(0);
    }

    fn signature(&mut self, text: &str) {
        self.0.push(text.len() as u8);
        self.0.extend(text.as_bytes());
        self.0.push(0);
    }

    /// An array's length counts from its first element, which stands where its type must.
    fn array(&mut self, element: usize, fill: impl FnOnce(&mut Self)) {
        self.u32(0);
        let at = self.0.len() - 4;
        self.align(element);
        let from = self.0.len();
        fill(self);
        let length = (self.0.len() - from) as u32;
        self.0[at..at + 4].copy_from_slice(&length.to_le_bytes());
    }

    fn variant(&mut self, value: &Value) {
        self.signature(&value.signature());
        self.value(value);
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Byte(it) => self.0.push(*it),
            Value::Bool(it) => self.u32((*it).into()),
            Value::I16(it) => self.fixed(&it.to_le_bytes()),
            Value::U16(it) => self.fixed(&it.to_le_bytes()),
            Value::I32(it) => self.fixed(&it.to_le_bytes()),
            Value::U32(it) => self.fixed(&it.to_le_bytes()),
            Value::I64(it) => self.fixed(&it.to_le_bytes()),
            Value::U64(it) => self.fixed(&it.to_le_bytes()),
            Value::F64(it) => self.fixed(&it.to_le_bytes()),
            Value::Str(it) | Value::Path(it) => self.text(it),
            Value::Array(of, items) => {
                self.array(alignment(of), |out| items.iter().for_each(|item| out.value(item)));
            }
            Value::Struct(fields) => {
                self.align(8);
                fields.iter().for_each(|field| self.value(field));
            }
            Value::Variant(it) => self.variant(it),
        }
    }

    fn fixed(&mut self, bytes: &[u8]) {
        self.align(bytes.len());
        self.0.extend(bytes);
    }
}

/// Where a value of this type begins.
fn alignment(signature: &str) -> usize {
    match signature.as_bytes().first() {
        Some(b'y' | b'g' | b'v') => 1,
        Some(b'n' | b'q') => 2,
        Some(b'x' | b't' | b'd' | b'(' | b'{') => 8,
        _ => 4,
    }
}

/// How long the whole message is whose first bytes these are; `None` if it is no message.
pub fn length(fixed: &[u8; FIXED]) -> Option<usize> {
    let mut reader = Reader { bytes: fixed, at: 4, big: big(fixed[0])? };
    let body = reader.u32()? as usize;
    reader.at = 12;
    let fields = reader.u32()? as usize;
    if body > LONGEST || fields > LONGEST {
        return None;
    }
    Some((FIXED + fields).next_multiple_of(8) + body)
}

fn big(order: u8) -> Option<bool> {
    match order {
        b'l' => Some(false),
        b'B' => Some(true),
        _ => None,
    }
}

/// Reads a whole message; `None` if it is damaged. A body with types that we never ask for is left
/// out.
pub fn decode(bytes: &[u8]) -> Option<Message> {
    let mut reader = Reader { bytes, at: 1, big: big(*bytes.first()?)? };
    let kind = match reader.byte()? {
        1 => Kind::Call,
        2 => Kind::Return,
        3 => Kind::Error,
        4 => Kind::Signal,
        _ => return None,
    };
    let mut message =
        Message { kind, reply_to: 0, member: String::new(), error: String::new(), body: Vec::new() };
    reader.at = 12;
    let end = FIXED + reader.u32()? as usize;
    let mut signature = String::new();
    while reader.at < end {
        reader.align(8)?;
        let code = reader.byte()?;
        match (code, reader.variant()?) {
            (3, Value::Str(it)) => message.member = it,
            (4, Value::Str(it)) => message.error = it,
            (5, Value::U32(it)) => message.reply_to = it,
            (8, Value::Str(it)) => signature = it,
            _ => {}
        }
    }
    reader.align(8)?;
    let mut rest = signature.as_str();
    while let Some(first) = single(rest) {
        message.body.push(reader.value(first)?);
        rest = &rest[first.len()..];
    }
    Some(message)
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    big: bool,
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.align(N)?;
        let mut bytes: [u8; N] = self.bytes.get(self.at..self.at.checked_add(N)?)?.try_into().ok()?;
        self.at += N;
        if self.big {
            bytes.reverse();
        }
        Some(bytes)
    }

    fn align(&mut self, to: usize) -> Option<()> {
        self.at = self.at.checked_next_multiple_of(to)?;
        Some(())
    }

    fn byte(&mut self) -> Option<u8> {
        self.take::<1>().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn text(&mut self, length: usize) -> Option<String> {
        let text = self.bytes.get(self.at..self.at.checked_add(length)?)?;
        // And the zero after it.
        self.at += length + 1;
        String::from_utf8(text.to_vec()).ok()
    }

    fn variant(&mut self) -> Option<Value> {
        let length = self.byte()?;
        let signature = self.text(length.into())?;
        match signature.as_str() {
            // A signature is read as text: nothing of ours asks what it means.
            "g" => {
                let length = self.byte()?;
                self.text(length.into()).map(Value::Str)
            }
            one => self.value(single(one).filter(|first| *first == one)?),
        }
    }

    fn value(&mut self, signature: &str) -> Option<Value> {
        Some(match signature.as_bytes().first()? {
            b'b' => Value::Bool(self.u32()? != 0),
            b'y' => Value::Byte(self.byte()?),
            b'n' => Value::I16(self.take().map(i16::from_le_bytes)?),
            b'q' => Value::U16(self.take().map(u16::from_le_bytes)?),
            b'i' => Value::I32(self.take().map(i32::from_le_bytes)?),
            b'u' => Value::U32(self.u32()?),
            b'x' => Value::I64(self.take().map(i64::from_le_bytes)?),
            b't' => Value::U64(self.take().map(u64::from_le_bytes)?),
            b'd' => Value::F64(self.take().map(f64::from_le_bytes)?),
            b's' | b'o' => {
                let length = self.u32()? as usize;
                let text = self.text(length)?;
                if signature == "s" { Value::Str(text) } else { Value::Path(text) }
            }
            b'v' => Value::Variant(Box::new(self.variant()?)),
            b'a' => {
                let of = &signature[1..];
                let length = self.u32()? as usize;
                self.align(alignment(of))?;
                let end = self.at.checked_add(length).filter(|end| *end <= self.bytes.len())?;
                let mut items = Vec::new();
                while self.at < end {
                    items.push(self.value(of)?);
                }
                Value::Array(of.to_owned(), items)
            }
            b'(' => {
                self.align(8)?;
                let mut rest = &signature[1..signature.len() - 1];
                let mut fields = Vec::new();
                while let Some(first) = single(rest) {
                    fields.push(self.value(first)?);
                    rest = &rest[first.len()..];
                }
                Value::Struct(fields)
            }
            _ => return None,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn call(body: &[Value]) -> Vec<u8> {
        let (path, interface) = ("/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager");
        Call { destination: "org.freedesktop.systemd1", path, interface, member: "GetUnit", body }.encode(7)
    }

    #[test]
    fn a_call_is_what_the_specification_draws() {
        let bytes = call(&[Value::str("a.scope")]);
        assert_eq!(&bytes[..8], [b'l', 1, 0, 1, 12, 0, 0, 0]);
        assert_eq!(bytes[8..12], 7u32.to_le_bytes());
        assert_eq!(&bytes[16..24], b"\x01\x01o\0\x19\0\0\0");
        assert_eq!(&bytes[bytes.len() - 12..], b"\x07\0\0\0a.scope\0");
        assert_eq!(length(bytes[..16].try_into().unwrap()), Some(bytes.len()));
    }

    #[test]
    fn every_type_comes_back() {
        let body = [
            Value::Byte(1),
            Value::Bool(true),
            Value::I16(-2),
            Value::U16(3),
            Value::I32(-4),
            Value::U32(5),
            Value::I64(-6),
            Value::U64(7),
            Value::F64(0.5),
            Value::str("text"),
            Value::Path("/a/b".into()),
            Value::bytes(&[1, 2, 3]),
            Value::Array("(st)".into(), vec![Value::Struct(vec![Value::str("x"), Value::U64(9)])]),
            Value::Array("(ss)".into(), vec![]),
            Value::Struct(vec![Value::Byte(1), Value::Variant(Box::new(Value::U64(2)))]),
        ];
        let bytes = call(&body);
        let message = decode(&bytes).unwrap();
        assert_eq!((message.kind, message.member.as_str()), (Kind::Call, "GetUnit"));
        assert_eq!(message.body, body);
    }

    #[test]
    fn damaged_messages_are_none() {
        let bytes =
            call(&[Value::Array("(ss)".into(), vec![Value::Struct(vec![Value::str("a"), Value::str("b")])])]);
        for end in 0..bytes.len() {
            assert!(decode(&bytes[..end]).is_none(), "{end}");
        }
        for at in 0..bytes.len() {
            for byte in [0, 1, 0x7f, 0xff] {
                let mut other = bytes.clone();
                other[at] = byte;
                let _ = decode(&other);
            }
        }
        let mut fixed: [u8; FIXED] = bytes[..FIXED].try_into().unwrap();
        fixed[7] = 0xff;
        assert_eq!(length(&fixed), None);
    }

    #[test]
    fn the_other_order_of_bytes_is_read_as_well() {
        // An error without a body: reply serial 9, in big-endian.
        let mut bytes = b"B\x03\x01\x01\0\0\0\0\0\0\0\x01\0\0\0\x08".to_vec();
        bytes.extend(b"\x05\x01u\0\0\0\0\x09");
        let message = decode(&bytes).unwrap();
        assert_eq!((message.kind, message.reply_to), (Kind::Error, 9));
    }
}
