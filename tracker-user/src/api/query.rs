//! What is asked for, behind the `?` of a request.

use std::str::FromStr;

use percent_encoding::percent_decode_str;

use super::Problem;

/// Parameters of one request, at most.
const MAX_PARAMETERS: usize = 64;

/// The parameters of a request (`application/x-www-form-urlencoded`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Takes them apart. One that is not `known` is refused, so that a typing error is not a silent default;
    /// so is one that comes twice and is not `where`.
    pub(super) fn parse(text: Option<&str>, known: &[&str]) -> Result<Self, Problem> {
        let mut parameters: Vec<(String, String)> = Vec::new();
        for pair in text.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decoded(name)?, decoded(value)?);
            if !known.contains(&name.as_str()) {
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                return Err(Problem::bad_parameter(format!("an unknown parameter; there are: {known}")));
            }
            if name != "where" && parameters.iter().any(|(other, _)| *other == name) {
                return Err(Problem::bad_parameter(format!("`{name}` comes twice")));
            }
            if parameters.len() >= MAX_PARAMETERS {
                return Err(Problem::bad_parameter("too many parameters"));
            }
            parameters.push((name, value));
        }
        Ok(Self(parameters))
    }

    /// All values of a parameter.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// The value of one that comes once at most.
    pub(super) fn one<T: FromStr>(&self, name: &str) -> Result<Option<T>, Problem>
    where
        T::Err: std::fmt::Display,
    {
        let value = self.all(name).next().map(str::parse).transpose();
        value.map_err(|error| Problem::bad_parameter(format!("`{name}`: {error}")))
    }

    /// The same of a number between two.
    pub(super) fn number(
        &self,
        name: &str,
        range: std::ops::RangeInclusive<u32>,
    ) -> Result<Option<u32>, Problem> {
        let number = self.one(name)?;
        match number {
            Some(number) if !range.contains(&number) => Err(Problem::bad_parameter(format!(
                "`{name}` must lie between {} and {}",
                range.start(),
                range.end()
            ))),
            _ => Ok(number),
        }
    }
}

fn decoded(text: &str) -> Result<String, Problem> {
    let spaced = text.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8();
    decoded.map(Into::into).map_err(|_| Problem::bad_parameter("a parameter is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_taken_apart() {
        let query = Query::parse(Some("where=a%3Db&limit=5&where=c+d%2Be&"), &["where", "limit"]).unwrap();
        assert_eq!(query.all("where").collect::<Vec<_>>(), ["a=b", "c d+e"]);
        assert_eq!(query.number("limit", 1..=10), Ok(Some(5)));
        assert!(query.number("limit", 1..=4).is_err());
        assert_eq!(query.one::<String>("since"), Ok(None));
        assert_eq!(Query::parse(None, &[]), Ok(Query::default()));
    }

    #[test]
    fn mistakes_are_refused() {
        let many = "where=x&".repeat(MAX_PARAMETERS + 1);
        for text in ["limits=5", "limit=1&limit=2", "%6cimit=1&limit=1", "limit=%ff", "=x", many.as_str()] {
            let problem = Query::parse(Some(text), &["limit", "where"]).unwrap_err();
            assert_eq!(problem.status(), hyper::StatusCode::BAD_REQUEST, "{text}");
        }
        for text in ["limit=", "limit=-1", "limit=1e3", "limit=99999999999"] {
            let query = Query::parse(Some(text), &["limit"]).unwrap();
            assert!(query.number("limit", 1..=10).is_err(), "{text}");
        }
    }
}
