//! Comma-separated values, as RFC 4180 has them.

use anyhow::{Context as _, Result};
use serde_json::Value;

/// Lines of cells.
#[derive(Debug)]
pub(super) struct Writer(csv::Writer<Vec<u8>>);

impl Default for Writer {
    fn default() -> Self {
        Self(csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new()))
    }
}

impl Writer {
    /// Writes a line: what is absent or `null` is empty.
    pub(super) fn line(&mut self, cells: impl Iterator<Item = Option<Value>>) -> Result<()> {
        self.0.write_record(cells.map(cell)).context("cannot write CSV")
    }

    /// What was written.
    pub(super) fn text(self) -> Result<String> {
        let bytes = self.0.into_inner().ok().context("cannot write CSV")?;
        String::from_utf8(bytes).context("cannot write CSV")
    }
}

/// A list is its elements with spaces between; a text that a spreadsheet would take for a formula is made none.
fn cell(value: Option<Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) if text.starts_with(['=', '+', '-', '@', '\t', '\r']) => format!("'{text}"),
        Some(Value::String(text)) => text,
        Some(Value::Array(list)) => {
            list.into_iter().map(|value| cell(Some(value))).collect::<Vec<_>>().join(" ")
        }
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn cells_are_quoted_and_no_formula() {
        let mut writer = Writer::default();
        let line =
            [json!("=1+1"), json!(["a", "b"]), json!("x,\n\"y\""), json!(null), json!(true), json!(0.5)];
        writer.line(line.into_iter().map(Some)).unwrap();
        assert_eq!(writer.text().unwrap(), "'=1+1,a b,\"x,\n\"\"y\"\"\",,true,0.5\r\n");
    }
}
