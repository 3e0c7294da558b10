//! Reading `/metrics`.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

/// One line of the text format.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Metric name, with its `_bucket`, `_sum` or `_count`.
    pub name: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Value.
    pub value: f64,
}

/// All samples of one scrape.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// In the order of the page.
    pub samples: Vec<Sample>,
    /// The page.
    pub text: String,
}

impl Metrics {
    /// Reads a page.
    ///
    /// # Errors
    ///
    /// Names the first line that is not in the text format.
    pub fn parse(text: &str) -> Result<Self> {
        let samples = text
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(|line| sample(line).with_context(|| format!("not a sample: {line}")))
            .collect::<Result<_>>()?;
        Ok(Self { samples, text: text.to_owned() })
    }

    /// The samples of that name with at least these labels.
    pub fn select<'a>(
        &'a self,
        name: &'a str,
        labels: &'a [(&'a str, &'a str)],
    ) -> impl Iterator<Item = &'a Sample> {
        self.samples.iter().filter(move |sample| {
            sample.name == name
                && labels
                    .iter()
                    .all(|(label, value)| sample.labels.get(*label).is_some_and(|found| found == value))
        })
    }

    /// The sum of these.
    #[must_use]
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.select(name, labels).map(|sample| sample.value).sum()
    }
}

fn sample(line: &str) -> Option<Sample> {
    let name_end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(name_end);
    let mut labels = BTreeMap::new();
    if let Some(after) = rest.strip_prefix('{') {
        rest = after;
        while !rest.starts_with('}') {
            let (label, after) = rest.split_once("=\"")?;
            let (value, after) = quoted(after)?;
            labels.insert(label.to_owned(), value);
            rest = after.strip_prefix(',').unwrap_or(after);
        }
        rest = &rest[1..];
    }
    let value = rest.trim().parse().ok()?;
    Some(Sample { name: name.to_owned(), labels, value })
}

/// The text up to the closing quote, unescaped, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match characters.next()?.1 {
                'n' => value.push('\n'),
                escaped => value.push(escaped),
            },
            _ => value.push(character),
        }
    }
    None
}

/// A plain GET: the status and the body.
///
/// # Errors
///
/// Where nobody listens or what answers is not HTTP.
pub fn get(address: SocketAddr, path: &str) -> Result<(u16, String)> {
    let (status, _, body) = get_as(address, path, "*/*")?;
    Ok((status, body))
}

/// The same in a form that the client accepts: status, head and body.
///
/// # Errors
///
/// Where there is no answer.
pub fn get_as(address: SocketAddr, path: &str, accept: &str) -> Result<(u16, String, String)> {
    let limit = Duration::from_secs(5);
    let mut socket = TcpStream::connect_timeout(&address, limit)?;
    socket.set_read_timeout(Some(limit))?;
    write!(socket, "GET {path} HTTP/1.0\r\nHost: {address}\r\nAccept: {accept}\r\n\r\n")?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no end of the head")?;
    let status = head.split(' ').nth(1).context("no status")?.parse()?;
    ensure!(!head.to_ascii_lowercase().contains("transfer-encoding"), "chunked to an HTTP/1.0 client");
    Ok((status, head.to_owned(), body.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_with_and_without_labels() {
        let page = "# HELP a x\n# TYPE a counter\na{b=\"c\\\"d\",e=\"f,}\"} 3\na{b=\"g\"} 4.5\nh 1e3\n";
        let metrics = Metrics::parse(page).unwrap();
        assert_eq!(metrics.sum("a", &[]), 7.5);
        assert_eq!(metrics.sum("a", &[("b", "c\"d"), ("e", "f,}")]), 3.0);
        assert_eq!(metrics.sum("h", &[]), 1000.0);
        assert_eq!(metrics.sum("a", &[("b", "no")]), 0.0);
        assert!(Metrics::parse("what is this").is_err());
    }
}
