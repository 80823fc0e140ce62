// SPDX-License-Identifier: Apache-2.0
//! A value of the bus: what a property of a unit is, and what messages carry.

use std::fmt;

/// One value of the bus's type system.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `b`
    Bool(bool),
    /// `y`
    Byte(u8),
    /// `n`
    I16(i16),
    /// `q`
    U16(u16),
    /// `i`
    I32(i32),
    /// `u`
    U32(u32),
    /// `x`
    I64(i64),
    /// `t`
    U64(u64),
    /// `d`
    F64(f64),
    /// `s`
    Str(String),
    /// `o`
    Path(String),
    /// `a` and the signature of an element.
    Array(String, Vec<Value>),
    /// `(…)`
    Struct(Vec<Value>),
    /// `v`
    Variant(Box<Value>),
}

impl Value {
    /// A string.
    pub fn str(text: impl Into<String>) -> Self {
        Self::Str(text.into())
    }

    /// Bytes, `ay`.
    pub fn bytes(bytes: &[u8]) -> Self {
        Self::Array("y".to_owned(), bytes.iter().map(|byte| Self::Byte(*byte)).collect())
    }

    /// Its type, in the letters of the bus.
    pub fn signature(&self) -> String {
        match self {
            Self::Bool(_) => "b".to_owned(),
            Self::Byte(_) => "y".to_owned(),
            Self::I16(_) => "n".to_owned(),
            Self::U16(_) => "q".to_owned(),
            Self::I32(_) => "i".to_owned(),
            Self::U32(_) => "u".to_owned(),
            Self::I64(_) => "x".to_owned(),
            Self::U64(_) => "t".to_owned(),
            Self::F64(_) => "d".to_owned(),
            Self::Str(_) => "s".to_owned(),
            Self::Path(_) => "o".to_owned(),
            Self::Array(of, _) => format!("a{of}"),
            Self::Struct(fields) => format!("({})", fields.iter().map(Self::signature).collect::<String>()),
            Self::Variant(_) => "v".to_owned(),
        }
    }
}

/// As in the text form, so that it can be read and written alike.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, items: &[Self]| {
            items.iter().enumerate().try_for_each(|(i, item)| {
                if i > 0 {
                    f.write_str(", ")?;
                }
                write!(f, "{item}")
            })
        };
        match self {
            Self::Bool(it) => write!(f, "{it}"),
            Self::Byte(it) => write!(f, "byte {it}"),
            Self::I16(it) => write!(f, "int16 {it}"),
            Self::U16(it) => write!(f, "uint16 {it}"),
            Self::I32(it) => write!(f, "{it}"),
            Self::U32(it) => write!(f, "uint32 {it}"),
            Self::I64(it) => write!(f, "int64 {it}"),
            Self::U64(it) => write!(f, "uint64 {it}"),
            Self::F64(it) => write!(f, "{it:?}"),
            Self::Str(it) => write!(f, "{it:?}"),
            Self::Path(it) => write!(f, "objectpath {it:?}"),
            Self::Array(of, items) if items.is_empty() => write!(f, "@a{of} []"),
            Self::Array(of, items) if of == "y" => {
                let bytes = items.iter().map(|it| if let Self::Byte(it) = it { *it } else { 0 });
                let bytes: Vec<String> = bytes.map(|it| format!("{it:#04x}")).collect();
                write!(f, "@ay [{}]", bytes.join(", "))
            }
            Self::Array(_, items) => {
                f.write_str("[")?;
                list(f, items)?;
                f.write_str("]")
            }
            Self::Struct(fields) => {
                f.write_str("(")?;
                list(f, fields)?;
                f.write_str(if fields.len() == 1 { ",)" } else { ")" })
            }
            Self::Variant(it) => write!(f, "<{it}>"),
        }
    }
}

/// The first whole type of a signature.
pub fn single(signature: &str) -> Option<&str> {
    let mut depth = 0;
    for (at, letter) in signature.bytes().enumerate() {
        match letter {
            b'a' => continue,
            b'(' => depth += 1,
            b')' if depth > 0 => depth -= 1,
            b'b' | b'y' | b'n' | b'q' | b'i' | b'u' | b'x' | b't' | b'd' | b's' | b'o' | b'v' => {}
            _ => return None,
        }
        if depth == 0 {
            return Some(&signature[..=at]);
        }
    }
    None
}
