//! The table, in Markdown: it reads well on a terminal, and goes into a document as it is.

use crate::{Row, conversation::Outcome};

const HEADINGS: [&str; 9] = [
    "agent",
    "release",
    "TLS",
    "located",
    "calls made",
    "seen",
    "exact",
    "tool run",
    "seen at its very first start",
];

/// Prints a line a release, and below what there is to say about it.
pub(crate) fn print(rows: &[Row]) {
    let mut cells: Vec<[String; HEADINGS.len()]> = vec![HEADINGS.map(String::from)];
    cells.extend(rows.iter().map(cells_of));
    let widths: [usize; HEADINGS.len()] =
        std::array::from_fn(|i| cells.iter().map(|row| row[i].len()).max().unwrap_or(0));
    for (number, row) in cells.iter().enumerate() {
        let padded: Vec<_> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        println!("| {} |", padded.join(" | "));
        if number == 0 {
            println!("|{}|", widths.map(|width| "-".repeat(width + 2)).join("|"));
        }
    }
    println!();
    for row in rows {
        let name = format!("{} {}", row.release.agent.title, row.release.version);
        let first = row.first.remarks.iter().map(|remark| ("at first", remark));
        let second = row.second.remarks.iter().map(|remark| ("then", remark));
        let files = row.judgement.remarks.iter().map(|remark| ("file", remark));
        for (when, remark) in first.chain(second).chain(files) {
            println!("{name}: {when}: {remark}");
        }
    }
}

fn cells_of(row: &Row) -> [String; HEADINGS.len()] {
    let Row { release, judgement, first, second } = row;
    let Outcome { made, seen, exact, tools, .. } = second;
    let which = match (release.pinned, release.newest) {
        (true, true) => " (pinned, newest)",
        (true, false) => " (pinned)",
        (false, _) => " (newest)",
    };
    [
        release.agent.title.to_owned(),
        format!("{}{which}", release.version),
        release.agent.stack.to_owned(),
        if judgement.located { "yes" } else { "NO" }.to_owned(),
        made.to_string(),
        seen.to_string(),
        exact.to_string(),
        if tools.is_empty() { "-".to_owned() } else { tools.join(", ") },
        format!("{} of {}", first.seen, first.made),
    ]
}
