//! What calls are told apart by, in questions to the ledger.

use std::{borrow::Cow, fmt, str::FromStr};

use rusqlite::types::Value;

use crate::{attribution::is_label, hint, stream::Role};

/// Where the value of a dimension is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// The first of these fields of the origin that there is.
    Origin(&'static [&'static str]),
    /// The same of the target.
    Target(&'static [&'static str]),
    /// Why it failed.
    Error,
    /// Where its token counts are from.
    UsageSource,
    /// A call's tools, which no hour has.
    Tool,
    /// A call's session, which no hour has either.
    Session,
    /// A label of it, of that name.
    Label(String),
}

impl Place {
    /// What a row has that says its value.
    const fn of(&self) -> Of {
        match self {
            Self::Origin(_) => Of::Origin,
            Self::Target(_) => Of::Target,
            Self::Error => Of::Error,
            Self::UsageSource => Of::UsageSource,
            Self::Tool => Of::Tool,
            Self::Session | Self::Label(_) => Of::Session,
        }
    }
}

/// What tells a row's groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    Origin,
    Target,
    Session,
    Error,
    UsageSource,
    Tool,
}

impl Of {
    const ALL: [Self; 6] =
        [Self::Origin, Self::Target, Self::Session, Self::Error, Self::UsageSource, Self::Tool];

    /// What it is called where it has been selected.
    const fn name(self) -> &'static str {
        match self {
            Self::Origin => "origin",
            Self::Target => "target",
            Self::Session => "session",
            Self::Error => "error",
            Self::UsageSource => "usage_source",
            Self::Tool => "tool",
        }
    }

    /// In SQL, of a row `c` of calls or hours, and a use of a tool.
    const fn sql(self) -> &'static str {
        match self {
            Self::Origin => "c.origin",
            Self::Target => "c.target",
            Self::Session => "c.session",
            // Calls have none where hours have an empty one.
            Self::Error => "nullif(c.error, '')",
            Self::UsageSource => "c.usage_source",
            Self::Tool => "used.value",
        }
    }

    /// Where the names are that it stands for.
    const fn join(self) -> &'static str {
        match self {
            Self::Origin => " LEFT JOIN origin o ON o.id = c.origin",
            Self::Target => " LEFT JOIN target t ON t.id = c.target",
            Self::Session => " LEFT JOIN session s ON s.id = c.session",
            Self::Error | Self::UsageSource | Self::Tool => "",
        }
    }
}

/// One of the things that calls are told apart by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dimension {
    name: Cow<'static, str>,
    place: Place,
}

const fn row(name: &'static str, place: Place) -> Dimension {
    Dimension { name: Cow::Borrowed(name), place }
}

/// Whether the process made the call or served it.
const ROLE: Dimension = row("role", Place::Target(&["role"]));

/// What stands before the name of a session's label.
const LABEL: &str = "label.";

/// All of them. The fields are those of the call record.
const DIMENSIONS: &[Dimension] = &[
    row("model", Place::Target(&["response_model", "model"])),
    row("request_model", Place::Target(&["model"])),
    row("provider", Place::Target(&["provider"])),
    row("operation", Place::Target(&["operation"])),
    row("server", Place::Target(&["server_address"])),
    row("path", Place::Target(&["path"])),
    ROLE,
    row("process", Place::Origin(&["process.name"])),
    row("exe", Place::Origin(&["process.exe"])),
    row("user", Place::Origin(&["process.user", "process.uid"])),
    row("uid", Place::Origin(&["process.uid"])),
    row("cgroup", Place::Origin(&["cgroup"])),
    row("container", Place::Origin(&["container.name", "container.id"])),
    row("image", Place::Origin(&["container.image"])),
    row("runtime", Place::Origin(&["container.runtime"])),
    row("pod", Place::Origin(&["container.pod"])),
    row("namespace", Place::Origin(&["container.namespace"])),
    row("workload", Place::Origin(&["container.workload"])),
    row("unit", Place::Origin(&["unit"])),
    row("slice", Place::Origin(&["slice"])),
    row("login", Place::Origin(&["login.user", "login.uid"])),
    row("agent", Place::Origin(&["agent.name"])),
    row("error", Place::Error),
    row("usage_source", Place::UsageSource),
    row("tool", Place::Tool),
    row("session", Place::Session),
];

/// A name that is none of the dimensions.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "there is no `{name}` to tell calls apart by{}\nThere are: {}, and {LABEL}KEY",
    hint::did_you_mean(name, Dimension::names()),
    Dimension::names().collect::<Vec<_>>().join(", ")
)]
pub struct UnknownDimension {
    name: String,
}

impl Dimension {
    /// All names, in the order in which they are shown.
    pub fn names() -> impl Iterator<Item = &'static str> {
        DIMENSIONS.iter().map(Self::name)
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it tells calls that were made from those that were served.
    pub(super) fn is_role(&self) -> bool {
        *self == ROLE
    }

    /// Its value, in SQL: of what there is of a row under its name in `c`, its origin `o`, its target `t` and its
    /// session `s`.
    fn sql(&self) -> String {
        let fields = |table: &str, paths: &[&str]| {
            let values: Vec<String> =
                paths.iter().map(|path| format!("{table}.fields ->> '$.{path}'")).collect();
            match values.as_slice() {
                [only] => format!("CAST({only} AS TEXT)"),
                several => format!("CAST(coalesce({}) AS TEXT)", several.join(", ")),
            }
        };
        match &self.place {
            Place::Origin(paths) => fields("o", paths),
            Place::Target(paths) => fields("t", paths),
            Place::Error | Place::UsageSource | Place::Tool => format!("c.{}", self.place.of().name()),
            Place::Session => "s.fields ->> '$.name'".to_owned(),
            // There are no quotes in it, which is checked where it is read.
            Place::Label(label) => format!("s.fields ->> '$.labels.\"{label}\"'"),
        }
    }
}

impl fmt::Display for Dimension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl FromStr for Dimension {
    type Err = UnknownDimension;

    fn from_str(name: &str) -> Result<Self, UnknownDimension> {
        if let Some(label) = name.strip_prefix(LABEL).filter(|label| is_label(label)) {
            return Ok(Self { name: name.to_owned().into(), place: Place::Label(label.to_owned()) });
        }
        let found = DIMENSIONS.iter().find(|dimension| dimension.name == name);
        found.cloned().ok_or_else(|| UnknownDimension { name: name.to_owned() })
    }
}

/// What calls have to be like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    dimension: Dimension,
    /// `*` and `?` as in a shell; an empty one is that there is no value.
    pattern: String,
    negated: bool,
}

/// A condition that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConditionError {
    /// Its left side is no dimension.
    #[error(transparent)]
    Dimension(#[from] UnknownDimension),
    /// It has no `=`.
    #[error("`{0}` is no condition: write NAME=PATTERN or NAME!=PATTERN")]
    Shape(String),
}

impl FromStr for Condition {
    type Err = ConditionError;

    fn from_str(text: &str) -> Result<Self, ConditionError> {
        let (name, pattern) = text.split_once('=').ok_or_else(|| ConditionError::Shape(text.to_owned()))?;
        let (name, negated) = name.strip_suffix('!').map_or((name, false), |name| (name, true));
        Ok(Self { dimension: name.trim().parse()?, pattern: pattern.trim().to_owned(), negated })
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { dimension, pattern, negated } = self;
        write!(f, "{dimension}{}={pattern}", if *negated { "!" } else { "" })
    }
}

impl Condition {
    /// That a call was made here, not served.
    pub(super) fn of_clients() -> Self {
        Self { dimension: ROLE, pattern: Role::Client.as_str().to_owned(), negated: false }
    }

    /// Whether it is that something is called so, and not otherwise.
    #[must_use]
    pub fn is(&self, dimension: &str, name: &str) -> bool {
        !self.negated && self.dimension.name() == dimension && self.pattern == name
    }

    /// What it is about.
    #[must_use]
    pub const fn dimension(&self) -> &Dimension {
        &self.dimension
    }

    /// What its value has to be like.
    #[must_use]
    pub fn pattern(&self) -> &str {
        &self.pattern
    }

    /// In SQL, of a row `c`; what it binds is pushed onto `values`.
    ///
    /// Origins, targets and sessions are decided on their own, once each: there are far fewer of them than calls.
    fn sql(&self, by_tool: bool, values: &mut Vec<Value>) -> String {
        let Self { dimension, pattern, negated } = self;
        let not = if *negated { "NOT " } else { "" };
        let value = match dimension.place {
            Place::Error | Place::UsageSource | Place::Tool => dimension.place.of().sql().to_owned(),
            _ => dimension.sql(),
        };
        let is = if pattern.is_empty() {
            format!("{value} IS {not}NULL")
        } else if dimension.place == Place::Session {
            // With those within it.
            values.extend([pattern.clone().into(), format!("{pattern}/*").into()]);
            format!("{not}(coalesce({value}, '') GLOB ? OR coalesce({value}, '') GLOB ?)")
        } else {
            values.push(pattern.clone().into());
            format!("{not}coalesce({value}, '') GLOB ?")
        };
        match &dimension.place {
            Place::Origin(_) => format!("c.origin IN (SELECT o.id FROM origin o WHERE {is})"),
            Place::Target(_) => format!("c.target IN (SELECT t.id FROM target t WHERE {is})"),
            Place::Session | Place::Label(_) => {
                // What fits an empty text fits a call that is of no session.
                let fits_none = pattern.bytes().all(|byte| byte == b'*') != *negated;
                let or_none = if fits_none { " OR c.session IS NULL" } else { "" };
                format!("(c.session IN (SELECT s.id FROM session s WHERE {is}){or_none})")
            }
            Place::Error | Place::UsageSource => is,
            Place::Tool if by_tool => is,
            // Of the calls, not of their uses of tools: a call without the tool is one in which no use is of it.
            Place::Tool if pattern.is_empty() => format!("c.tool_calls IS {not}NULL"),
            Place::Tool => {
                format!("{not}EXISTS (SELECT 1 FROM json_each(c.tool_calls) used WHERE used.value GLOB ?)")
            }
        }
    }
}

/// What a question is about, in SQL.
pub(super) struct Dimensions<'a> {
    by: &'a [Dimension],
    conditions: &'a [Condition],
    of_user: Option<u32>,
}

impl<'a> Dimensions<'a> {
    pub(super) const fn new(by: &'a [Dimension], conditions: &'a [Condition]) -> Self {
        Self { by, conditions, of_user: None }
    }

    /// The same of the calls of one user's processes and logins only.
    pub(super) const fn of_user(self, of_user: Option<u32>) -> Self {
        Self { of_user, ..self }
    }

    /// Whether sums by the hour do not tell.
    pub(super) fn need_calls(&self) -> bool {
        let conditions = self.conditions.iter().map(|condition| &condition.dimension);
        let mut places = self.by.iter().chain(conditions).map(|dimension| &dimension.place);
        places.any(|place| matches!(place, Place::Tool | Place::Session | Place::Label(_)))
    }

    /// Whether a call counts once for each tool of its.
    pub(super) fn by_tool(&self) -> bool {
        self.by.iter().any(|dimension| dimension.place == Place::Tool)
    }

    /// Conditions on rows `c`, to be added to a `WHERE`, and what is bound to their parameters.
    pub(super) fn filter(&self) -> (String, Vec<Value>) {
        let (mut filter, mut values) = (String::new(), Vec::new());
        if let Some(uid) = self.of_user {
            filter += " AND c.origin IN (SELECT o.id FROM origin o
                WHERE ? IN (o.fields ->> '$.process.uid', o.fields ->> '$.login.uid'))";
            values.push(i64::from(uid).into());
        }
        for condition in self.conditions {
            filter += " AND ";
            filter += &condition.sql(self.by_tool(), &mut values);
        }
        (filter, values)
    }

    /// What tells a row's group.
    fn of(&self) -> impl Iterator<Item = Of> {
        Of::ALL.into_iter().filter(|of| self.by.iter().any(|dimension| dimension.place.of() == *of))
    }

    /// How many columns there are of it.
    pub(super) fn told_by(&self) -> usize {
        self.of().count()
    }

    /// Columns to end a `SELECT` from rows `c` with, each with its comma: what tells the row's group.
    pub(super) fn columns(&self) -> String {
        self.of().map(|of| format!(", {} AS {}", of.sql(), of.name())).collect()
    }

    /// A `SELECT` of the values that those columns stand for, which are its parameters.
    pub(super) fn names(&self) -> String {
        let values: String = self.by.iter().map(|dimension| format!("{}, ", dimension.sql())).collect();
        let row: String = self.of().map(|of| format!(", ? AS {}", of.name())).collect();
        let joins: String = self.of().map(Of::join).collect();
        format!("SELECT {values}true FROM (SELECT true{row}) c{joins}")
    }

    /// Those values.
    pub(super) fn key(&self, row: &rusqlite::Row<'_>) -> rusqlite::Result<Vec<Option<String>>> {
        (0..self.by.len()).map(|column| row.get(column)).collect()
    }
}
