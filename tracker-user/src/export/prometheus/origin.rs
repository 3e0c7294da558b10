//! The labels that say whose a call was, as the operator wants them.
//!
//! ```toml
//! [metrics]
//! labels = [
//!   "process",
//!   { from = "cgroup", max_values = 200 },
//!   { from = "user", name = "team", map = [["build-*", "ci"], ["ada", "research"], ["*", "others"]] },
//! ]
//! ```

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{
        self, MapAccess, Visitor,
        value::{MapAccessDeserializer, StrDeserializer},
    },
};

use crate::{
    attribution::{Origin, is_label},
    pattern::{MAX_TEXT, Pattern, TooLong},
};

/// Values of one label, unless the operator says otherwise.
const DEFAULT_VALUES: usize = 1_000;
/// The most that the operator may say.
const MAX_VALUES: usize = 100_000;
/// Patterns that are tried for one value, at most.
const MAX_PATTERNS: usize = 1_000;
/// Names that mean something else on some series, here or to Prometheus.
const TAKEN: [&str; 14] = [
    "gen_ai_provider_name",
    "gen_ai_operation_name",
    "gen_ai_request_model",
    "gen_ai_response_model",
    "gen_ai_token_type",
    "error_type",
    "type",
    "status",
    "error",
    "role",
    "usage_source",
    "le",
    "job",
    "instance",
];

/// What stands before the name of a container's label.
const CONTAINER_LABEL: &str = "container_label:";
/// What stands before the name of a session's label.
const LABEL: &str = "label.";

/// What of a call's origin a label shows.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OriginField {
    /// The process's name, at most 15 bytes.
    Process,
    /// The path of its executable.
    Exe,
    /// Its process id: a series for each.
    Pid,
    /// The name of its user.
    User,
    /// The id of its user.
    Uid,
    /// Its cgroup path.
    Cgroup,
    /// The id of its container.
    Container,
    /// What runs that container.
    Runtime,
    /// The name of its container.
    ContainerName,
    /// The name of that container's image.
    Image,
    /// The name of the Kubernetes pod.
    Pod,
    /// The uid of the Kubernetes pod.
    PodUid,
    /// The pod's namespace.
    Namespace,
    /// The workload that owns the pod: `deployment/web`.
    Workload,
    /// A label of the container, or of its pod: `container_label:team`.
    #[serde(skip_deserializing)]
    ContainerLabel(String),
    /// The systemd unit.
    Unit,
    /// The systemd slice.
    Slice,
    /// The login session.
    LoginSession,
    /// The name of the user who logged in.
    LoginUser,
    /// The id of the user who logged in.
    LoginUid,
    /// The agent or CI job that it works for.
    Agent,
    /// The session that it runs in: a series for each.
    Session,
    /// A label of that session: `label.data_id`.
    #[serde(skip_deserializing)]
    Label(String),
}

impl OriginField {
    /// As it is written in the configuration, and the label's name unless there is another one.
    fn name(&self) -> Cow<'static, str> {
        let name = match self {
            Self::Process => "process",
            Self::Exe => "exe",
            Self::Pid => "pid",
            Self::User => "user",
            Self::Uid => "uid",
            Self::Cgroup => "cgroup",
            Self::Container => "container",
            Self::Runtime => "runtime",
            Self::ContainerName => "container_name",
            Self::Image => "image",
            Self::Pod => "pod",
            Self::PodUid => "pod_uid",
            Self::Namespace => "namespace",
            Self::Workload => "workload",
            Self::Unit => "unit",
            Self::Slice => "slice",
            Self::LoginSession => "login_session",
            Self::LoginUser => "login_user",
            Self::LoginUid => "login_uid",
            Self::Agent => "agent",
            Self::Session => "session",
            // As cAdvisor calls them.
            Self::ContainerLabel(label) => return format!("container_label_{}", clean(label)).into(),
            Self::Label(label) => return format!("label_{}", clean(label)).into(),
        };
        name.into()
    }

    /// The field of this name.
    fn parse<E: de::Error>(name: &str) -> Result<Self, E> {
        let takes_a_label = |prefix| E::custom(format_args!("`{prefix}` takes the name of a label"));
        match (name.strip_prefix(CONTAINER_LABEL), name.strip_prefix(LABEL)) {
            (Some(label), _) if label.is_empty() || label.len() > MAX_TEXT => {
                Err(takes_a_label(CONTAINER_LABEL))
            }
            (Some(label), _) => Ok(Self::ContainerLabel(label.to_owned())),
            (None, Some(label)) if is_label(label) => Ok(Self::Label(label.to_owned())),
            (None, Some(_)) => Err(takes_a_label(LABEL)),
            (None, None) => Self::deserialize(StrDeserializer::new(name)),
        }
    }

    /// Empty where it is not known.
    fn value<'a>(&self, origin: &'a Origin) -> Cow<'a, str> {
        let Origin { process, cgroup_id: _, cgroup, container, unit, slice, login, agent, session } = origin;
        let (container, login, session) = (container.as_ref(), login.as_ref(), session.as_ref());
        let number = |uid: Option<u32>| uid.map(|uid| uid.to_string()).unwrap_or_default().into();
        let text = match self {
            Self::Pid => return process.pid.to_string().into(),
            Self::Uid => return number(process.uid),
            Self::LoginUid => return number(login.and_then(|it| it.uid)),
            Self::Process => process.name.as_deref(),
            Self::Exe => process.exe.as_deref(),
            Self::User => process.user.as_deref(),
            Self::Cgroup => cgroup.as_deref(),
            Self::Container => container.map(|it| it.id.as_str()),
            Self::Runtime => container.and_then(|it| it.runtime),
            Self::ContainerName => container.and_then(|it| it.name.as_deref()),
            Self::Image => container.and_then(|it| it.image.as_deref()),
            Self::Pod => container.and_then(|it| it.pod.as_deref()),
            Self::PodUid => container.and_then(|it| it.pod_uid.as_deref()),
            Self::Namespace => container.and_then(|it| it.namespace.as_deref()),
            Self::Workload => {
                let workload = container.and_then(|it| it.workload.as_ref());
                return workload.map(ToString::to_string).unwrap_or_default().into();
            }
            Self::Unit => unit.as_deref(),
            Self::Slice => slice.as_deref(),
            Self::LoginSession => login.and_then(|it| it.session.as_deref()),
            Self::LoginUser => login.and_then(|it| it.user.as_deref()),
            Self::Agent => agent.as_ref().map(|it| it.name.as_str()),
            Self::ContainerLabel(label) => container.and_then(|it| it.labels.get(label)).map(String::as_str),
            Self::Session => session.and_then(|it| it.name.as_deref()),
            Self::Label(label) => session.and_then(|it| it.labels.get(label)).map(String::as_str),
        };
        text.unwrap_or_default().into()
    }
}

/// A text as the part of a label's name that it can be.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

/// One label of the metrics that say whose a call was, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginLabel {
    from: OriginField,
    name: String,
    max_values: usize,
    /// The first pattern that fits decides.
    map: Vec<(Pattern, String)>,
}

impl OriginLabel {
    /// The label as it is, under its own name.
    #[must_use]
    pub fn new(from: OriginField) -> Self {
        Self { name: from.name().into_owned(), from, max_values: DEFAULT_VALUES, map: Vec::new() }
    }

    /// What the metrics have unless the operator says otherwise.
    #[must_use]
    pub fn defaults() -> Vec<Self> {
        [OriginField::Process, OriginField::Cgroup, OriginField::Container].map(Self::new).to_vec()
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The label of containers that it shows, where it does.
    #[must_use]
    pub fn container_label(&self) -> Option<&str> {
        match &self.from {
            OriginField::ContainerLabel(label) => Some(label),
            _ => None,
        }
    }

    /// Values at most; what is over it goes to `other`.
    pub(super) const fn max_values(&self) -> usize {
        self.max_values
    }

    /// Paths differ at their end.
    pub(super) const fn is_path(&self) -> bool {
        matches!(self.from, OriginField::Cgroup | OriginField::Exe)
    }

    /// The value for a call; empty where there is none.
    pub(super) fn value<'a>(&'a self, origin: &'a Origin) -> Cow<'a, str> {
        let value = self.from.value(origin);
        match self.map.iter().find(|(pattern, _)| pattern.fits(&value)) {
            Some((_, mapped)) => mapped.as_str().into(),
            None => value,
        }
    }
}

/// What is wrong with the labels.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum OriginLabelError {
    /// The name cannot be a label.
    #[error("`{0}` cannot be a label: it takes 1 to 64 letters, digits and `_`, no digit first and not `__`")]
    Name(String),
    /// The name is taken.
    #[error("the label `{0}` has a meaning already: give it another `name`")]
    Taken(String),
    /// Two labels have one name.
    #[error("there are two labels `{0}`: give one of them another `name`")]
    Twice(String),
    /// The bound is no bound.
    #[error("`max_values` must lie between 1 and {MAX_VALUES}")]
    MaxValues,
    /// Too many, too long, or a value that cannot be shown.
    #[error(
        "`map` has at most {MAX_PATTERNS} pairs of a pattern and a value, each of at most {MAX_TEXT} bytes"
    )]
    Map,
}

/// Checks what can only be seen of all labels together.
///
/// # Errors
/// Two of them have one name.
pub fn check_names(labels: &[OriginLabel]) -> Result<(), OriginLabelError> {
    for (index, label) in labels.iter().enumerate() {
        if labels.iter().take(index).any(|before| before.name == label.name) {
            return Err(OriginLabelError::Twice(label.name.clone()));
        }
    }
    Ok(())
}

/// A label as a table.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    #[serde(deserialize_with = "origin_field")]
    from: OriginField,
    name: Option<String>,
    max_values: Option<usize>,
    #[serde(default)]
    map: Vec<(String, String)>,
}

fn origin_field<'de, D: Deserializer<'de>>(deserializer: D) -> Result<OriginField, D::Error> {
    OriginField::parse(&String::deserialize(deserializer)?)
}

impl TryFrom<Fields> for OriginLabel {
    type Error = OriginLabelError;

    fn try_from(fields: Fields) -> Result<Self, OriginLabelError> {
        let Fields { from, name, max_values, map } = fields;
        let name = name.unwrap_or_else(|| from.name().into_owned());
        let fits = |(at, byte): (usize, u8)| {
            byte == b'_' || byte.is_ascii_alphabetic() || at > 0 && byte.is_ascii_digit()
        };
        if name.is_empty() || name.len() > 64 || name.starts_with("__") || !name.bytes().enumerate().all(fits)
        {
            return Err(OriginLabelError::Name(name));
        }
        if TAKEN.contains(&name.as_str()) {
            return Err(OriginLabelError::Taken(name));
        }
        let max_values = max_values.unwrap_or(DEFAULT_VALUES);
        if !(1..=MAX_VALUES).contains(&max_values) {
            return Err(OriginLabelError::MaxValues);
        }
        if map.len() > MAX_PATTERNS || map.iter().any(|(_, value)| value.len() > MAX_TEXT) {
            return Err(OriginLabelError::Map);
        }
        let pair = |(pattern, value)| Ok((Pattern::try_from(pattern)?, value));
        let map = map.into_iter().map(pair).collect::<Result<_, TooLong>>();
        let map = map.map_err(|TooLong| OriginLabelError::Map)?;
        Ok(Self { from, name, max_values, map })
    }
}

impl<'de> Deserialize<'de> for OriginLabel {
    /// A name alone, or a table. (Not an untagged enum: its errors do not say what is wrong.)
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = OriginLabel;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a label, or a table with `from`")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<OriginLabel, E> {
                OriginField::parse(name).map(OriginLabel::new)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<OriginLabel, A::Error> {
                let fields = Fields::deserialize(MapAccessDeserializer::new(map))?;
                OriginLabel::try_from(fields).map_err(de::Error::custom)
            }
        }

        deserializer.deserialize_any(Either)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::{bare, full};

    #[derive(Debug, Deserialize)]
    struct Metrics {
        labels: Vec<OriginLabel>,
    }

    fn parse(labels: &str) -> Result<Vec<OriginLabel>, String> {
        let metrics: Metrics =
            toml::from_str(&format!("labels = [{labels}]")).map_err(|it| it.to_string())?;
        check_names(&metrics.labels).map_err(|it| it.to_string())?;
        Ok(metrics.labels)
    }

    #[test]
    fn a_name_alone_and_a_table() {
        let labels =
            parse(r#""process", {from = "user", name = "team", max_values = 3, map = [["a*", "x"]]}"#);
        let labels = labels.unwrap();
        assert_eq!(labels[0], OriginLabel::new(OriginField::Process));
        assert_eq!((labels[1].name(), labels[1].max_values()), ("team", 3));
        assert_eq!(labels[1].value(&full().origin), "x");
    }

    #[test]
    fn every_field_has_a_value() {
        let all = [
            ("process", "python3"),
            ("exe", "/usr/bin/python3.11"),
            ("pid", "4711"),
            ("user", "ada"),
            ("uid", "1000"),
            ("cgroup", "/docker/abc"),
            ("container", "abc"),
            ("runtime", "docker"),
            ("container_name", "web"),
            ("image", "nginx:1.29"),
            ("pod", "web-7d4b9c6f5b-x2x7z"),
            ("pod_uid", "p-1"),
            ("namespace", "shop"),
            ("workload", "deployment/web"),
            ("container_label:example.org/team", "red"),
            ("unit", "a.service"),
            ("slice", "b.slice"),
            ("login_session", "5"),
            ("login_user", "grace"),
            ("login_uid", "1001"),
            ("agent", "claude"),
            ("session", "nightly/suite-3"),
            ("label.data_id", "7"),
        ];
        for (name, value) in all {
            let label = parse(&format!("{name:?}")).unwrap().remove(0);
            assert_eq!(label.value(&full().origin).as_ref(), value);
            assert_eq!(label.name(), name.replace([':', '.', '/'], "_"));
            assert_eq!(label.value(&bare().origin).as_ref(), if name == "pid" { "1" } else { "" });
        }
    }

    #[test]
    fn the_first_pattern_that_fits_decides() {
        let label = parse(r#"{from = "process", map = [["python*", "py"], ["*3", "three"], ["node", ""]]}"#);
        let label = label.unwrap().remove(0);
        let value = |name: &str| {
            let mut record = full();
            record.origin.process.name = Some(name.to_owned());
            label.value(&record.origin).into_owned()
        };
        assert_eq!(["python3", "ruby3", "node", "curl"].map(value), ["py", "three", "", "curl"]);
    }

    #[test]
    fn a_mistake_says_what_would_do() {
        for (labels, words) in [
            (r#""proces""#, &["proces", "`process`"][..]),
            (r#"{from = "pod_id"}"#, &["`pod_uid`"]),
            (r#"{from = "container_label:"}"#, &["name of a label"]),
            (r#""label.a b""#, &["`label.`", "name of a label"]),
            (r#"{name = "x"}"#, &["from"]),
            (r#"{from = "user", nam = "x"}"#, &["nam", "name"]),
            (r#"{from = "user", name = "a b"}"#, &["a b", "letters"]),
            (r#"{from = "user", name = "__x"}"#, &["__x"]),
            (r#"{from = "user", name = "status"}"#, &["status", "another"]),
            (r#"{from = "user", max_values = 0}"#, &["max_values"]),
            (r#""user", {from = "uid", name = "user"}"#, &["two labels `user`"]),
            ("3", &["name of a label"]),
        ] {
            let error = parse(labels).unwrap_err();
            assert!(words.iter().all(|word| error.contains(word)), "{labels}: {error}");
        }
    }
}
