// SPDX-License-Identifier: Apache-2.0
//! Looking at JSON text where serde does not look: repeated keys, NUL, depth, and where
//! in the text a property stands.
//!
//! [`scan`] runs once over every config.json, before serde: one pass over the bytes, one
//! small vector for the keys of the objects that are open. The rest is for errors only,
//! so it walks the text again each time instead of keeping a tree.
//!
//! Everything here takes malformed text too: it then finds less, and never panics.

use std::borrow::Cow;
use std::ops::Range;

/// How deep objects and lists may stand in each other. A configuration has about ten
/// levels; serde_json gives up at 128.
pub(super) const DEPTH: usize = 100;

/// Why a text is refused that serde_json would take. Offsets are in bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Defect {
    /// A key stands twice in one object: the two keys, with their quotes.
    Repeated { first: Range<usize>, again: Range<usize> },
    /// A NUL, as `\u0000` or as it is: paths and arguments would end there.
    Nul(Range<usize>),
    /// Deeper than [`DEPTH`].
    Deep(usize),
}

/// A key of an object that is still open.
#[derive(Clone, Copy)]
struct Key {
    hash: u64,
    /// Of the first byte behind the opening quote.
    start: u32,
    len: u32,
}

/// The bytes that matter outside of strings.
const MARKS: [bool; 256] = {
    let mut marks = [false; 256];
    let list = b"\"{}[]\0";
    let mut i = 0;
    while i < list.len() {
        marks[list[i] as usize] = true;
        i += 1;
    }
    marks
};

/// Below this many keys each is compared with each; above they are sorted, so that a
/// hostile object costs n log n and not n².
const FEW: usize = 12;

/// Finds the first repeated key, NUL, or object that stands too deep.
pub(super) fn scan(text: &str) -> Result<(), Defect> {
    let bytes = text.as_bytes();
    let mut keys: Vec<Key> = Vec::with_capacity(128);
    // Where the keys of each open object begin.
    let mut open = [0_u32; DEPTH];
    let mut depth = 0;
    let mut i = 0;
    while let Some(&byte) = bytes.get(i) {
        match byte {
            b'"' => {
                let start = i + 1;
                let (end, escaped) = string_end(bytes, start)?;
                i = end + 1;
                if bytes.get(i + blanks(bytes, i)) == Some(&b':') {
                    let key = &bytes[start..end.min(bytes.len())];
                    let hash = if escaped { hash(unescape(key).as_bytes()) } else { hash(key) };
                    keys.push(Key { hash, start: start as u32, len: key.len() as u32 });
                }
            }
            b'{' | b'[' => {
                if depth == DEPTH {
                    return Err(Defect::Deep(i));
                }
                open[depth] = keys.len() as u32;
                depth += 1;
                i += 1;
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                let first = open[depth] as usize;
                if keys.len() > first {
                    distinct(bytes, &mut keys[first..])?;
                    keys.truncate(first);
                }
                i += 1;
            }
            0 => return Err(Defect::Nul(i..i + 1)),
            _ => {
                i += 1;
                // Indentation is a third of a file that people wrote.
                while let Some(eight) = eight(bytes, i)
                    && (eight == SPACES || eight == TABS)
                {
                    i += 8;
                }
                while let Some(&byte) = bytes.get(i)
                    && !MARKS[byte as usize]
                {
                    i += 1;
                }
            }
        }
    }
    Ok(())
}

const SPACES: u64 = u64::from_ne_bytes([b' '; 8]);
const TABS: u64 = u64::from_ne_bytes([b'\t'; 8]);
const QUOTES: u64 = u64::from_ne_bytes([b'"'; 8]);
const BACKSLASHES: u64 = u64::from_ne_bytes([b'\\'; 8]);
const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
const HIGHS: u64 = u64::from_ne_bytes([0x80; 8]);

fn eight(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// Marks the bytes of `word` that are zero by their highest bit. The lowest mark is
/// always right, and only that one is used.
fn zeros(word: u64) -> u64 {
    word.wrapping_sub(ONES) & !word & HIGHS
}

/// The offset of the closing quote, and whether there are escapes before it. Without a
/// closing quote: the end of the text.
fn string_end(bytes: &[u8], mut at: usize) -> Result<(usize, bool), Defect> {
    let mut escaped = false;
    loop {
        while let Some(eight) = eight(bytes, at) {
            let found = zeros(eight ^ QUOTES) | zeros(eight ^ BACKSLASHES);
            if found != 0 {
                at += found.trailing_zeros() as usize / 8;
                break;
            }
            at += 8;
        }
        match bytes.get(at) {
            None => return Ok((bytes.len(), escaped)),
            Some(b'"') => return Ok((at, escaped)),
            Some(b'\\') => {
                if bytes[at + 1..].starts_with(b"u0000") {
                    return Err(Defect::Nul(at..at + 6));
                }
                escaped = true;
                at += 2;
            }
            Some(_) => at += 1,
        }
    }
}

fn blanks(bytes: &[u8], at: usize) -> usize {
    bytes.iter().skip(at).take_while(|byte| matches!(byte, b' ' | b'\n' | b'\t' | b'\r')).count()
}

/// Tells keys apart quickly; equal ones are compared byte by byte afterwards.
fn hash(key: &[u8]) -> u64 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut hash = key.len() as u64;
    let (chunks, rest) = key.as_chunks();
    for chunk in chunks {
        hash = (hash.rotate_left(23) ^ u64::from_le_bytes(*chunk)).wrapping_mul(FACTOR);
    }
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    (hash.rotate_left(23) ^ u64::from_le_bytes(last)).wrapping_mul(FACTOR)
}

/// The keys of one object, at its end.
fn distinct(bytes: &[u8], keys: &mut [Key]) -> Result<(), Defect> {
    let span = |key: &Key| key.start as usize..(key.start + key.len) as usize;
    let name = |key: &Key| unescape(&bytes[span(key)]);
    let same = |a: &Key, b: &Key| a.hash == b.hash && name(a) == name(b);
    let repeated = |a: &Key, b: &Key| {
        let quoted = |key: &Key| span(key).start - 1..(span(key).end + 1).min(bytes.len());
        let (first, again) = if a.start < b.start { (a, b) } else { (b, a) };
        Err(Defect::Repeated { first: quoted(first), again: quoted(again) })
    };
    if keys.len() <= FEW {
        for (i, key) in keys.iter().enumerate() {
            if let Some(other) = keys[..i].iter().find(|other| same(other, key)) {
                return repeated(other, key);
            }
        }
        return Ok(());
    }
    keys.sort_unstable_by(|a, b| {
        a.hash.cmp(&b.hash).then_with(|| name(a).cmp(&name(b))).then(a.start.cmp(&b.start))
    });
    match keys.windows(2).find(|pair| same(&pair[0], &pair[1])) {
        Some(pair) => repeated(&pair[0], &pair[1]),
        None => Ok(()),
    }
}

/// A string's content without its escapes. What is no valid string stays as it is: serde
/// refuses it anyway.
fn unescape(content: &[u8]) -> Cow<'_, str> {
    let plain = String::from_utf8_lossy(content);
    if !content.contains(&b'\\') {
        return plain;
    }
    match serde_json::from_str(&format!("\"{plain}\"")) {
        Ok(text) => Cow::Owned(text),
        Err(_) => plain,
    }
}

/// Where something stands: line and column as editors count them, from 1, the column in
/// characters; the span in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// The bytes of it.
    pub span: Range<usize>,
}

impl Position {
    pub(super) fn new(text: &str, span: Range<usize>) -> Self {
        let mut start = span.start.min(text.len());
        while !text.is_char_boundary(start) {
            start -= 1;
        }
        let before = &text[..start];
        let line = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self {
            line: before.bytes().filter(|byte| *byte == b'\n').count() + 1,
            column: before[line..].chars().count() + 1,
            span: start..span.end.clamp(start, text.len()),
        }
    }
}

/// What [`find`] found.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The key with its quotes, where it is a member of an object.
    pub key: Option<Range<usize>>,
    /// The value.
    pub value: Range<usize>,
    /// False if the property is not there and this is what should hold it.
    pub whole: bool,
}

/// Finds a property such as `mounts[3].source` or `linux.sysctl["net.ipv4.ip_forward"]`
/// (also written with plain dots), or the innermost thing around it that is there.
pub(super) fn find(text: &str, property: &str) -> Option<Place> {
    let bytes = text.as_bytes();
    let start = blanks(bytes, 0);
    let mut place = Place { key: None, value: start..skip(bytes, start), whole: true };
    if place.value.is_empty() {
        return None;
    }
    let mut rest = property;
    while !rest.is_empty() {
        let Some((next, left)) = step(bytes, place.value.start, rest) else {
            place.whole = false;
            break;
        };
        place = next;
        rest = left;
    }
    Some(place)
}

/// One name or index further from the value at `at`; what is left of the property.
fn step<'p>(bytes: &[u8], at: usize, property: &'p str) -> Option<(Place, &'p str)> {
    match bytes.get(at)? {
        b'[' => {
            let (index, left) = property.strip_prefix('[')?.split_once(']')?;
            let index: usize = index.parse().ok()?;
            let (_, value) = children(bytes, at).nth(index)?;
            Some((Place { key: None, value, whole: true }, left))
        }
        b'{' => {
            let quoted = property.strip_prefix('[').and_then(|inner| {
                let mut names = serde_json::Deserializer::from_str(inner).into_iter::<String>();
                let name = names.next()?.ok()?;
                Some((name, inner[names.byte_offset()..].strip_prefix(']')?))
            });
            let property = property.strip_prefix('.').unwrap_or(property);
            let plain = property.split(['.', '[']).next()?;
            let mut found = None;
            for (key, value) in children(bytes, at) {
                let Some(key) = key else { continue };
                let name = unescape(&bytes[key.start + 1..key.end.saturating_sub(1).max(key.start + 1)]);
                let left = match &quoted {
                    Some((wanted, left)) if *wanted == name => Some(*left),
                    Some(_) => None,
                    None if name == plain => Some(&property[plain.len()..]),
                    // annotations.org.example.key: the whole rest is the name.
                    None if name == property => Some(""),
                    None => None,
                };
                if let Some(left) = left {
                    found = Some((Place { key: Some(key), value, whole: true }, left));
                    break;
                }
            }
            found
        }
        _ => None,
    }
}

/// The members of the object or the elements of the list at `at`, with the spans of keys
/// and values.
fn children(bytes: &[u8], at: usize) -> impl Iterator<Item = (Option<Range<usize>>, Range<usize>)> {
    let members = bytes.get(at) == Some(&b'{');
    let mut next = at + 1;
    std::iter::from_fn(move || {
        next += blanks(bytes, next);
        if bytes.get(next) == Some(&b',') {
            next += 1;
            next += blanks(bytes, next);
        }
        if matches!(bytes.get(next), None | Some(b'}' | b']')) {
            return None;
        }
        let key = (members && bytes[next] == b'"').then(|| {
            let key = next..skip(bytes, next);
            next = key.end + blanks(bytes, key.end);
            if bytes.get(next) == Some(&b':') {
                next += 1;
                next += blanks(bytes, next);
            }
            key
        });
        let value = next..skip(bytes, next);
        // Malformed text must not hold us here for ever.
        next = value.end.max(next + usize::from(key.is_none()));
        Some((key, value))
    })
}

/// The end of the value at `at`.
fn skip(bytes: &[u8], mut at: usize) -> usize {
    let mut depth = 0_usize;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'"' => at = quoted_end(bytes, at),
            b'{' | b'[' => {
                depth += 1;
                at += 1;
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                at += 1;
            }
            b',' | b':' | b' ' | b'\n' | b'\t' | b'\r' if depth > 0 => {
                at += 1;
                continue;
            }
            _ => {
                let word = |byte: &&u8| !b",:{}[]\" \n\t\r".contains(*byte);
                at += bytes[at..].iter().take_while(word).count().max(1);
            }
        }
        if depth == 0 {
            break;
        }
    }
    at.min(bytes.len())
}

/// Behind the closing quote of the string whose opening quote is at `at`.
fn quoted_end(bytes: &[u8], at: usize) -> usize {
    let mut from = at + 1;
    loop {
        match string_end(bytes, from) {
            Ok((end, _)) => return (end + 1).min(bytes.len()),
            Err(Defect::Nul(nul)) => from = nul.end,
            Err(_) => return bytes.len(),
        }
    }
}

/// The property inside which `offset` stands: `process.rlimits[0].hard`, or nothing at
/// the top.
pub(super) fn path_at(text: &str, offset: usize) -> String {
    let bytes = text.as_bytes();
    let mut path = String::new();
    let mut at = blanks(bytes, 0);
    while matches!(bytes.get(at), Some(b'{' | b'[')) && at < offset {
        let mut inside = None;
        for (index, (key, value)) in children(bytes, at).enumerate() {
            let start = key.as_ref().map_or(value.start, |key| key.start);
            if start > offset {
                break;
            }
            if offset < value.end {
                inside = Some((index, key, value));
                break;
            }
        }
        let Some((index, key, value)) = inside else { break };
        match key {
            Some(key) => {
                let name = unescape(&bytes[key.start + 1..key.end.saturating_sub(1).max(key.start + 1)]);
                push_name(&mut path, &name);
            }
            // No name where one must be: that is what is wrong here.
            None if bytes[at] == b'{' => break,
            None => push_index(&mut path, index),
        }
        at = value.start;
    }
    path
}

/// Goes one name further: `.source`, or `["net.ipv4.ip_forward"]` where dots would lie.
pub(super) fn push_name(path: &mut String, name: &str) {
    if !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
    {
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(name);
    } else {
        path.push('[');
        path.push_str(&serde_json::Value::from(name).to_string());
        path.push(']');
    }
}

/// Goes to one element of a list.
pub(super) fn push_index(path: &mut String, index: usize) {
    path.push_str(&format!("[{index}]"));
}
