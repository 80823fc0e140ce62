// SPDX-License-Identifier: Apache-2.0
//! The layers of an overlay. fsconfig(2) takes values of at most 255 bytes, which a list of layers
//! soon exceeds; the kernel takes them one by one as well, in the words `lowerdir+` and `datadir+`.

/// The longest value that fsconfig takes.
const LONGEST: usize = 255;

/// A long `lowerdir` becomes as many words as it has layers.
pub(super) fn layers(values: Vec<(String, String)>) -> Vec<(String, String)> {
    let mut words = Vec::with_capacity(values.len());
    for (key, value) in values {
        match key == "lowerdir" && value.len() > LONGEST {
            true => split(&value, &mut words),
            false => words.push((key, value)),
        }
    }
    words
}

/// `a:b::c`: lower layers, and after the double colon one that has data alone. A backslash before a
/// colon makes it part of the name.
fn split(list: &str, words: &mut Vec<(String, String)>) {
    let (mut key, mut layer) = ("lowerdir+", String::new());
    let mut letters = list.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => layer.extend(letters.next()),
            ':' => {
                words.push((key.to_owned(), std::mem::take(&mut layer)));
                if letters.next_if_eq(&':').is_some() {
                    key = "datadir+";
                }
            }
            letter => layer.push(letter),
        }
    }
    words.push((key.to_owned(), layer));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(list: &str) -> Vec<(String, String)> {
        layers(vec![("lowerdir".to_owned(), list.to_owned())])
    }

    #[test]
    fn a_short_list_stays_as_it_is() {
        assert_eq!(words("/a:/b"), [("lowerdir".to_owned(), "/a:/b".to_owned())]);
    }

    #[test]
    fn a_long_list_is_given_layer_by_layer() {
        let long = format!("/{}", "x".repeat(250));
        let all = words(&format!("{long}:/a\\:b:/c\\\\::/data::/more"));
        let all: Vec<(&str, &str)> = all.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(
            all,
            [
                ("lowerdir+", long.as_str()),
                ("lowerdir+", "/a:b"),
                ("lowerdir+", "/c\\"),
                ("datadir+", "/data"),
                ("datadir+", "/more"),
            ]
        );
    }
}
