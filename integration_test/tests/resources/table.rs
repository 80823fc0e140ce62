// SPDX-License-Identifier: Apache-2.0
//! The table in docs/cgroups.md under "Every resource, by every driver".

use std::fs;

const HEADING: &str = "## Every resource, by every driver";

fn path() -> String {
    format!("{}/../docs/cgroups.md", env!("CARGO_MANIFEST_DIR"))
}

/// The lines of the page and where the table's rows are, the head first.
fn page() -> (Vec<String>, std::ops::Range<usize>) {
    let text = fs::read_to_string(path()).unwrap();
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let heading = lines.iter().position(|line| line == HEADING).expect("the page has the heading");
    let start = heading + lines[heading..].iter().position(|line| line.starts_with("| ")).unwrap();
    let rows = lines[start..].iter().take_while(|line| line.starts_with('|')).count();
    (lines, start..start + rows)
}

fn cells(line: &str) -> Vec<&str> {
    line.trim_matches('|').split('|').map(str::trim).collect()
}

/// The first column.
pub fn names() -> Vec<String> {
    let (lines, rows) = page();
    lines[rows].iter().skip(2).map(|line| cells(line)[0].trim_matches('`').to_owned()).collect()
}

/// One cell says this; or, with BLESS=1 (and one test at a time), is made to.
pub fn hold(name: &str, title: &str, text: &str) {
    let (mut lines, rows) = page();
    let column = cells(&lines[rows.start]).iter().position(|cell| *cell == title).unwrap();
    let at = rows.clone().find(|at| cells(&lines[*at])[0].trim_matches('`') == name);
    let at = at.unwrap_or_else(|| panic!("docs/cgroups.md has no row {name}"));
    let mut row: Vec<String> = cells(&lines[at]).iter().map(|cell| (*cell).to_owned()).collect();
    if std::env::var_os("BLESS").is_some() {
        row[column] = text.to_owned();
        lines[at] = format!("| {} |", row.join(" | "));
        fs::write(path(), lines.join("\n") + "\n").unwrap();
    }
    let says = cells(&lines[at])[column];
    assert_eq!(
        says, text,
        "docs/cgroups.md, {name}, {title}: BLESS=1 cargo test -p integration_test --test resources -- --test-threads=1"
    );
}
