// SPDX-License-Identifier: Apache-2.0
//! Two texts, line by line: what is only in the first, and what only in the second.

/// `- line` for the old, `+ line` for the new, with one line of what is the same around them.
pub fn diff(old: &str, new: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    // longest[i][j]: how many lines old[i..] and new[j..] have in common, in order.
    let mut longest = vec![vec![0; new.len() + 1]; old.len() + 1];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            longest[i][j] = match old[i] == new[j] {
                true => longest[i + 1][j + 1] + 1,
                false => longest[i + 1][j].max(longest[i][j + 1]),
            };
        }
    }
    let (mut i, mut j, mut lines) = (0, 0, Vec::new());
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            lines.push((' ', old[i]));
            (i, j) = (i + 1, j + 1);
        } else if j == new.len() || i < old.len() && longest[i + 1][j] >= longest[i][j + 1] {
            lines.push(('-', old[i]));
            i += 1;
        } else {
            lines.push(('+', new[j]));
            j += 1;
        }
    }
    let near = |n: usize| lines[n.saturating_sub(1)..(n + 2).min(lines.len())].iter().any(|l| l.0 != ' ');
    let shown = lines.iter().enumerate().filter(|(n, _)| near(*n));
    shown.map(|(_, (mark, line))| format!("{mark} {line}\n")).collect()
}

#[test]
fn a_moved_line_shows_twice() {
    assert_eq!(diff("a\nb\nc\nd\n", "a\nc\nb\nd\n"), "  a\n- b\n  c\n+ b\n  d\n");
    assert_eq!(diff("a\nb\nc\nd\n", "a\nb\nc\ne\n"), "  c\n- d\n+ e\n");
    assert_eq!(diff("a\n", "a\n"), "");
}
