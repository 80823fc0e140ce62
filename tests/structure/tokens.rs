// SPDX-License-Identifier: Apache-2.0
//! Rust source as tokens, as far as the rules need it: comments and the insides of
//! literals are gone, so that a word in them is never taken for code.

/// One identifier, literal or piece of punctuation (`::` is one piece).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// As written; `""` for every string and character literal.
    pub text: String,
    /// Counted from 1.
    pub line: usize,
}

/// What is written between `r` and the end of a raw string that opens with `hashes`.
fn raw_string_end(rest: &[char], hashes: usize) -> usize {
    let mut i = 0;
    while i < rest.len() {
        if rest[i] == '"' && rest[i + 1..].iter().take_while(|c| **c == '#').count() >= hashes {
            return i + 1 + hashes;
        }
        i += 1;
    }
    rest.len()
}

/// The length of a literal that opens at `rest[0]` with `quote` and knows backslashes.
fn quoted_end(rest: &[char], quote: char) -> usize {
    let mut i = 1;
    while i < rest.len() && rest[i] != quote {
        i += if rest[i] == '\\' { 2 } else { 1 };
    }
    (i + 1).min(rest.len())
}

/// The length of the block comment that opens at `rest[0]`; they nest.
fn comment_end(rest: &[char]) -> usize {
    let (mut depth, mut i) = (0, 0);
    while i < rest.len() {
        match (rest[i], rest.get(i + 1)) {
            ('/', Some('*')) => (depth, i) = (depth + 1, i + 2),
            ('*', Some('/')) => (depth, i) = (depth - 1, i + 2),
            _ => i += 1,
        }
        if depth == 0 {
            break;
        }
    }
    i
}

/// How long is the literal that starts here, if one does?
fn literal(rest: &[char]) -> Option<usize> {
    match rest[0] {
        '"' => return Some(quoted_end(rest, '"')),
        // 'x' and '\n' are characters, 'x without the end is a lifetime or a label.
        '\'' if rest.get(1) == Some(&'\\') || rest.get(2) == Some(&'\'') => {
            return Some(quoted_end(rest, '\''));
        }
        _ => {}
    }
    let prefix = rest.iter().take_while(|c| "bcr".contains(**c)).count();
    if prefix == 0 || prefix > 2 {
        return None;
    }
    let raw = rest[prefix - 1] == 'r';
    let hashes = if raw { rest[prefix..].iter().take_while(|c| **c == '#').count() } else { 0 };
    let open = prefix + hashes;
    match rest.get(open) {
        Some('"') if raw => Some(open + 1 + raw_string_end(&rest[open + 1..], hashes)),
        Some('"') => Some(open + quoted_end(&rest[open..], '"')),
        Some('\'') if rest[..prefix] == ['b'] => Some(open + quoted_end(&rest[open..], '\'')),
        _ => None,
    }
}

/// All tokens of a source.
pub fn tokens(source: &str) -> Vec<Token> {
    let chars: Vec<char> = source.chars().collect();
    let word = |c: &char| c.is_alphanumeric() || *c == '_';
    let (mut found, mut i, mut line) = (Vec::new(), 0, 1);
    while i < chars.len() {
        let rest = &chars[i..];
        let (length, text) = if rest.starts_with(&['/', '/']) {
            (rest.iter().take_while(|c| **c != '\n').count(), None)
        } else if rest.starts_with(&['/', '*']) {
            (comment_end(rest), None)
        } else if let Some(length) = literal(rest) {
            (length, Some("\"\"".to_string()))
        } else if rest.starts_with(&['r', '#']) && rest.get(2).is_some_and(word) {
            let name: String = rest[2..].iter().take_while(|c| word(c)).collect();
            (2 + name.chars().count(), Some(name))
        } else if rest[0] == '\'' {
            let name: String = rest[1..].iter().take_while(|c| word(c)).collect();
            (1 + name.chars().count(), Some(format!("'{name}")))
        } else if word(&rest[0]) {
            let name: String = rest.iter().take_while(|c| word(c)).collect();
            (name.chars().count(), Some(name))
        } else if rest.starts_with(&[':', ':']) {
            (2, Some("::".to_string()))
        } else if rest[0].is_whitespace() {
            (1, None)
        } else {
            (1, Some(rest[0].to_string()))
        };
        if let Some(text) = text {
            found.push(Token { text, line });
        }
        line += rest[..length].iter().filter(|c| **c == '\n').count();
        i += length;
    }
    found
}

/// Does this run of tokens begin with these texts?
pub fn begins(tokens: &[Token], texts: &[&str]) -> bool {
    tokens.len() >= texts.len() && tokens.iter().zip(texts).all(|(token, text)| token.text == *text)
}

/// The index after the bracket that closes the one at `open`.
pub fn closing(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0;
    for (i, token) in tokens.iter().enumerate().skip(open) {
        match token.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return i + 1;
        }
    }
    tokens.len()
}

/// The tokens without the items under `#[cfg(test)]`, and the names of the modules in
/// other files that stand under it.
pub fn without_tests(tokens: &[Token]) -> (Vec<Token>, Vec<String>) {
    let (mut kept, mut modules, mut i) = (Vec::new(), Vec::new(), 0);
    while i < tokens.len() {
        let rest = &tokens[i..];
        let test = begins(rest, &["#", "[", "cfg", "(", "test", ")", "]"])
            || begins(rest, &["#", "[", "cfg", "(", "all", "(", "test", ","]);
        if !test {
            kept.push(tokens[i].clone());
            i += 1;
            continue;
        }
        while begins(&tokens[i..], &["#", "["]) {
            i = closing(tokens, i + 1);
        }
        // The item ends with its first block or semicolon outside of brackets.
        while i < tokens.len() {
            match tokens[i].text.as_str() {
                "{" => {
                    i = closing(tokens, i);
                    break;
                }
                ";" => {
                    i += 1;
                    break;
                }
                "(" | "[" => i = closing(tokens, i),
                "mod" if tokens.get(i + 2).is_some_and(|t| t.text == ";") => {
                    modules.push(tokens[i + 1].text.clone());
                    i += 2;
                }
                _ => i += 1,
            }
        }
    }
    (kept, modules)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(source: &str) -> Vec<String> {
        tokens(source).into_iter().map(|t| t.text).collect()
    }

    #[test]
    fn comments_and_literals_hide_words() {
        let source = r##"
            // unsafe
            /* unsafe /* nested unsafe */ unsafe */
            let a = "unsafe \" unsafe"; let b = r#"unsafe " unsafe"#; let c = b"unsafe"; let d = 'u';
            let e = '\''; let f = '"'; let g = b'\''; let h = br"unsafe\"; let i = c"unsafe";
        "##;
        assert!(!texts(source).contains(&"unsafe".to_string()), "{:?}", texts(source));
        assert_eq!(texts(source).iter().filter(|t| *t == "\"\"").count(), 9);
    }

    #[test]
    fn code_after_a_literal_is_seen() {
        for literal in ["\"\\\\\"", "r\"\\\"", "r##\"#\"\"##", "'\\\\'", "b'\\''", "'\"'", "/* // */"] {
            assert!(texts(&format!("{literal} unsafe")).contains(&"unsafe".to_string()), "{literal}");
        }
    }

    #[test]
    fn lifetimes_are_not_characters() {
        assert_eq!(texts("fn f<'a>(x: &'a str) {}")[3], "'a");
        assert!(texts("fn f<'a>() { unsafe {} }").contains(&"unsafe".to_string()));
        assert_eq!(texts("'outer: loop { unsafe"), ["'outer", ":", "loop", "{", "unsafe"]);
    }

    #[test]
    fn lines_are_counted_through_everything() {
        let found = tokens("/*\n\n*/ \"\n\" a\nb");
        assert_eq!(found.iter().map(|t| t.line).collect::<Vec<_>>(), [3, 4, 5]);
    }

    #[test]
    fn raw_identifiers_are_identifiers() {
        assert_eq!(texts("r#type r br"), ["type", "r", "br"]);
    }

    #[test]
    fn test_items_go_and_the_rest_stays() {
        let source = "fn a() {} #[cfg(test)] #[allow(x)] mod tests { fn b() {} } fn c() {}
            #[cfg(test)] mod far; #[cfg(test)] use x::{y}; #[cfg(not(test))] fn d() {} #[cfg(all(test, unix))] fn e() {}";
        let (kept, modules) = without_tests(&tokens(source));
        let names: Vec<_> =
            kept.windows(2).filter(|w| w[0].text == "fn").map(|w| w[1].text.as_str()).collect();
        assert_eq!(names, ["a", "c", "d"]);
        assert!(!kept.iter().any(|t| t.text == "x"));
        assert_eq!(modules, ["far"]);
    }
}
