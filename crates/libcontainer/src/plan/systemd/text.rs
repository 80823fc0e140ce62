// SPDX-License-Identifier: Apache-2.0
//! The text form in which annotations carry a value.
//!
//! It is GVariant's (`uint64 5`, `'inactive-or-failed'`, `['a.service', 'b.service']`,
//! `@as []`), as far as any property of a unit needs it; maybes, dictionaries and byte strings are
//! none of that. <https://docs.gtk.org/glib/gvariant-text-format.html>

use super::value::{Value, single};

/// Reads one value from its text form.
pub fn parse(text: &str) -> Result<Value, String> {
    let mut parser = Parser { rest: text, whole: text, depth: 0 };
    let value = parser.value(None)?;
    parser.space();
    match parser.rest {
        "" => Ok(value),
        rest => Err(format!("{rest:?} is left over after the value")),
    }
}

struct Parser<'a> {
    rest: &'a str,
    whole: &'a str,
    depth: usize,
}

/// The words before a value that give its type.
const WORDS: [(&str, &str); 11] = [
    ("boolean", "b"),
    ("byte", "y"),
    ("int16", "n"),
    ("uint16", "q"),
    ("int32", "i"),
    ("uint32", "u"),
    ("int64", "x"),
    ("uint64", "t"),
    ("double", "d"),
    ("string", "s"),
    ("objectpath", "o"),
];

impl<'a> Parser<'a> {
    /// No property of any unit goes that deep.
    const DEEPEST: usize = 8;

    /// One value, of the type `want` where that is known.
    fn value(&mut self, want: Option<&str>) -> Result<Value, String> {
        self.space();
        if self.depth == Self::DEEPEST {
            return Err(format!("more than {} levels of brackets", Self::DEEPEST));
        }
        if want == Some("v") {
            return Err("a variant (v) cannot be written here".to_owned());
        }
        match self.rest.chars().next() {
            None => Err(format!("{:?} ends where a value should be", self.whole)),
            Some('@') => {
                self.rest = &self.rest[1..];
                let end = self.rest.find(char::is_whitespace).unwrap_or(self.rest.len());
                let (signature, rest) = self.rest.split_at(end);
                if single(signature) != Some(signature) {
                    return Err(format!("@{signature} is not a type"));
                }
                self.rest = rest;
                self.agree(want, signature)?;
                self.value(Some(signature))
            }
            Some('\'' | '"') => self.string(want.unwrap_or("s")),
            Some('[') => self.array(want),
            Some('(') => self.tuple(want),
            Some('0'..='9' | '+' | '-' | '.') => self.number(want),
            Some('a'..='z' | 'A'..='Z') => self.word(want),
            Some(other) => Err(format!("{other:?} does not begin a value")),
        }
    }

    fn word(&mut self, want: Option<&str>) -> Result<Value, String> {
        let word = self.take(|c| c.is_ascii_alphanumeric());
        match word {
            "true" | "false" => {
                self.agree(want, "b")?;
                return Ok(Value::Bool(word == "true"));
            }
            "inf" | "nan" => {
                self.agree(want, "d")?;
                return Ok(Value::F64(if word == "inf" { f64::INFINITY } else { f64::NAN }));
            }
            _ => {}
        }
        match WORDS.iter().find(|(name, _)| *name == word) {
            Some((_, signature)) => {
                self.agree(want, signature)?;
                self.value(Some(signature))
            }
            None => Err(format!("{word:?} is neither a value nor a type: strings stand in quotes")),
        }
    }

    fn number(&mut self, want: Option<&str>) -> Result<Value, String> {
        let text = self.take(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
        let plain = text.trim_start_matches(['+', '-']);
        let hex = plain.strip_prefix("0x").or_else(|| plain.strip_prefix("0X"));
        let fraction = hex.is_none() && plain.contains(['.', 'e', 'E']);
        let want = want.unwrap_or(if fraction { "d" } else { "i" });
        let fault = || format!("{text} is not {}", name_of(want));
        if want == "d" {
            return text.parse().map(Value::F64).map_err(|_| fault());
        }
        let number = match hex {
            Some(digits) => i128::from_str_radix(digits, 16),
            None if plain.len() > 1 && plain.starts_with('0') => i128::from_str_radix(plain, 8),
            None => plain.parse(),
        };
        let number = number.map_err(|_| fault())?;
        let number = if text.starts_with('-') { -number } else { number };
        let value = match want {
            "y" => number.try_into().map(Value::Byte).ok(),
            "n" => number.try_into().map(Value::I16).ok(),
            "q" => number.try_into().map(Value::U16).ok(),
            "i" => number.try_into().map(Value::I32).ok(),
            "u" => number.try_into().map(Value::U32).ok(),
            "x" => number.try_into().map(Value::I64).ok(),
            "t" => number.try_into().map(Value::U64).ok(),
            _ => None,
        };
        value.ok_or_else(fault)
    }

    fn string(&mut self, want: &str) -> Result<Value, String> {
        let mut chars = self.rest.char_indices();
        let quote = chars.next().map_or('"', |(_, c)| c);
        let mut text = String::new();
        while let Some((at, c)) = chars.next() {
            if c == quote {
                self.rest = &self.rest[at + 1..];
                return match want {
                    "s" => Ok(Value::Str(text)),
                    "o" if text.starts_with('/') => Ok(Value::Path(text)),
                    _ => Err(format!("{text:?} is not {}", name_of(want))),
                };
            }
            if c != '\\' {
                text.push(c);
                continue;
            }
            text.push(match chars.next().map(|(_, c)| c) {
                Some('n') => '\n',
                Some('t') => '\t',
                Some('u') => {
                    let digits: String = chars.by_ref().take(4).map(|(_, c)| c).collect();
                    let code = u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32);
                    code.ok_or_else(|| format!("\\u{digits} is not a character"))?
                }
                Some(other) => other,
                None => break,
            });
        }
        Err(format!("{} has no closing quote", self.rest))
    }

    fn array(&mut self, want: Option<&str>) -> Result<Value, String> {
        let mut of = match want {
            None => None,
            Some(want) => Some(want.strip_prefix('a').ok_or_else(|| mismatch("an array", want))?.to_owned()),
        };
        let items = self.list('[', ']', |parser, _| {
            let item = parser.value(of.as_deref())?;
            of.get_or_insert_with(|| item.signature());
            Ok(item)
        })?;
        match of {
            Some(of) => Ok(Value::Array(of, items)),
            None => Err("[] does not say of what it is an empty array: write @as []".to_owned()),
        }
    }

    fn tuple(&mut self, want: Option<&str>) -> Result<Value, String> {
        let mut wanted = match want {
            None => None,
            Some(want) => {
                let inside = want.strip_prefix('(').and_then(|want| want.strip_suffix(')'));
                Some(inside.ok_or_else(|| mismatch("a tuple", want))?)
            }
        };
        let fields = self.list('(', ')', |parser, _| {
            let Some(left) = wanted else { return parser.value(None) };
            let first = single(left).ok_or("the tuple has more fields than its type")?;
            wanted = Some(&left[first.len()..]);
            parser.value(Some(first))
        })?;
        if wanted.is_some_and(|left| !left.is_empty()) {
            return Err("the tuple has fewer fields than its type".to_owned());
        }
        if fields.is_empty() { Err("() is an empty tuple".to_owned()) } else { Ok(Value::Struct(fields)) }
    }

    /// What stands between brackets, with commas; one after the last is allowed.
    fn list(
        &mut self,
        open: char,
        close: char,
        mut item: impl FnMut(&mut Self, usize) -> Result<Value, String>,
    ) -> Result<Vec<Value>, String> {
        let from = self.rest;
        self.depth += 1;
        self.rest = self.rest.strip_prefix(open).unwrap_or(self.rest);
        let mut items = Vec::new();
        loop {
            self.space();
            if let Some(rest) = self.rest.strip_prefix(close) {
                self.rest = rest;
                self.depth -= 1;
                return Ok(items);
            }
            if !items.is_empty() {
                self.rest = self.rest.strip_prefix(',').ok_or_else(|| {
                    format!("{from:?}: a comma or {close:?} is missing before {:?}", self.rest)
                })?;
                self.space();
                if self.rest.starts_with(close) {
                    continue;
                }
            }
            items.push(item(self, items.len())?);
        }
    }

    fn agree(&self, want: Option<&str>, found: &str) -> Result<(), String> {
        match want {
            Some(want) if want != found => Err(mismatch(&name_of(found), want)),
            _ => Ok(()),
        }
    }

    fn take(&mut self, belongs: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !belongs(c)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    fn space(&mut self) {
        self.rest = self.rest.trim_start();
    }
}

fn mismatch(found: &str, want: &str) -> String {
    format!("{found} stands where {} belongs", name_of(want))
}

fn name_of(signature: &str) -> String {
    match WORDS.iter().find(|(_, it)| *it == signature) {
        Some((name, _)) => format!("of the type {name}"),
        None => format!("of the type {signature}"),
    }
}
