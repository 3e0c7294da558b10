//! Container id, runtime and pod from a cgroup path.
//!
//! Runtimes name the cgroups they make; the names are the only thing that all of them leave where
//! the host can see it without asking them. The innermost container wins, so that what runs in a
//! container inside a container is told from what runs beside it.

use super::origin::Container;

/// What may stand in the place of the id.
#[derive(Clone, Copy, Debug)]
enum Id {
    /// 64 lower-case hexadecimal digits.
    Hash,
    /// Whatever the operator called it.
    Name,
    /// A machine name with systemd's `\x2d` escapes.
    Unit,
}

/// How one runtime names a cgroup.
#[derive(Debug)]
struct Rule {
    /// The component above; empty where it does not matter.
    parent: &'static str,
    prefix: &'static str,
    suffix: &'static str,
    id: Id,
    /// `None` for a cgroup that belongs to the runtime and not to the container.
    runtime: Option<&'static str>,
}

const fn rule(
    parent: &'static str,
    prefix: &'static str,
    suffix: &'static str,
    id: Id,
    runtime: Option<&'static str>,
) -> Rule {
    Rule { parent, prefix, suffix, id, runtime }
}

/// The first rule that fits a component decides about it.
const RULES: &[Rule] = &[
    // Monitors: they run beside the container they watch.
    rule("", "libpod-conmon-", ".scope", Id::Hash, None),
    rule("", "crio-conmon-", ".scope", Id::Hash, None),
    rule("", "lxc.monitor.", "", Id::Name, None),
    rule("lxc.monitor", "", "", Id::Name, None),
    // Scopes of systemd's cgroup driver.
    rule("", "docker-", ".scope", Id::Hash, Some("docker")),
    rule("", "cri-containerd-", ".scope", Id::Hash, Some("containerd")),
    rule("", "nerdctl-", ".scope", Id::Hash, Some("containerd")),
    rule("", "libpod-payload-", "", Id::Hash, Some("podman")),
    rule("", "libpod-", ".scope", Id::Hash, Some("podman")),
    rule("", "libpod-", "", Id::Hash, Some("podman")),
    rule("", "crio-", ".scope", Id::Hash, Some("cri-o")),
    rule("", "crio-", "", Id::Hash, Some("cri-o")),
    rule("", "crun-", ".scope", Id::Name, Some("crun")),
    rule("", "runc-", ".scope", Id::Name, Some("runc")),
    // Directories of the cgroupfs driver.
    rule("docker", "", "", Id::Hash, Some("docker")),
    rule("moby", "", "", Id::Hash, Some("docker")),
    rule("crun", "", "", Id::Name, Some("crun")),
    rule("runc", "", "", Id::Name, Some("runc")),
    // Machines. A virtual machine (`machine-qemu-...`) is none of the kind: see `container`.
    rule("", "systemd-nspawn@", ".service", Id::Unit, Some("systemd-nspawn")),
    rule("", "machine-", ".scope", Id::Unit, Some("systemd-nspawn")),
    rule("", "lxc.payload.", "", Id::Name, Some("lxc")),
    rule("lxc.payload", "", "", Id::Name, Some("lxc")),
    rule("lxc", "", "", Id::Name, Some("lxc")),
];

/// The container that a process in this cgroup runs in.
pub(super) fn container(path: &str) -> Option<Container> {
    let components: Vec<&str> = path.split('/').filter(|component| !component.is_empty()).collect();
    let (depth, mut container) = (0..components.len()).rev().find_map(|depth| {
        let parent = depth.checked_sub(1).map_or("", |above| components[above]);
        Some((depth, identify(components[depth], parent)?))
    })?;
    // systemd-nspawn itself stays beside its payload.
    if container.runtime == Some("systemd-nspawn") && components.get(depth + 1) == Some(&"supervisor") {
        return None;
    }
    container.pod_uid = components[..=depth].iter().rev().find_map(|component| pod_uid(component));
    // The kubelet's cgroupfs driver names the directory by the bare id. containerd is what does so
    // today; cri-o has its prefix.
    if container.runtime.is_none() && container.pod_uid.is_some() {
        container.runtime = Some("containerd");
    }
    Some(container)
}

fn identify(component: &str, parent: &str) -> Option<Container> {
    let found = |id: String, runtime| Some(Container { id, runtime, ..Container::default() });
    // An id that was given is a name; a hash says nothing.
    let named = |id: String, runtime| Some(Container { name: Some(id.clone()), ..found(id, runtime)? });
    // runc takes `slice:prefix:name` for a directory when it is not told that systemd is the driver.
    if let Some((_, scope)) = component.split_once(".slice:") {
        let (prefix, id) = scope.split_once(':')?;
        return identify(&format!("{prefix}-{id}.scope"), "");
    }
    for rule in RULES {
        let fits = rule.parent.is_empty() || rule.parent == parent;
        let id = component.strip_prefix(rule.prefix).and_then(|rest| rest.strip_suffix(rule.suffix));
        let Some(id) = id.filter(|id| fits && !id.is_empty()) else { continue };
        match rule.id {
            Id::Hash if is_hash(id) => return found(id.to_owned(), Some(rule.runtime?)),
            Id::Hash => {}
            Id::Name => return named(id.to_owned(), Some(rule.runtime?)),
            Id::Unit => {
                let machine = unescape(id);
                // libvirt registers `qemu-1-name` and `lxc-4711-name`.
                let (driver, rest) = machine.split_once('-').unwrap_or((&machine, ""));
                let (number, name) = rest.split_once('-').unwrap_or((rest, ""));
                let libvirt = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
                return match driver {
                    "qemu" if libvirt => None,
                    "lxc" if libvirt && !name.is_empty() => named(name.to_owned(), Some("lxc")),
                    _ => named(machine, rule.runtime),
                };
            }
        }
    }
    // An id below a parent of the operator's choosing: docker's --cgroup-parent, ECS, nerdctl, and
    // the kubelet's pods. Which runtime it was does not show.
    is_hash(component).then(|| found(component.to_owned(), None))?
}

fn is_hash(id: &str) -> bool {
    id.len() == 64 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The pod of a `pod<uid>` directory or a `...-pod<uid>.slice`, with dashes where systemd wants
/// underscores. Static pods have a hash of 32 digits for a uid.
fn pod_uid(component: &str) -> Option<String> {
    let slice = component.split_once(".slice").map(|(slice, _)| slice);
    let uid = match slice {
        Some(slice) => slice.rsplit_once("-pod")?.1,
        None => component.strip_prefix("pod")?,
    }
    .replace('_', "-");
    let dashes = uid.bytes().filter(|byte| *byte == b'-').count();
    let hex = uid.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit());
    (hex && matches!((uid.len(), dashes), (36, 4) | (32, 0))).then_some(uid)
}

/// Undoes systemd's escaping of unit names, `\x2d` for `-` above all. See systemd-escape(1).
fn unescape(unit: &str) -> String {
    let mut bytes = Vec::with_capacity(unit.len());
    let mut rest = unit;
    while let Some((before, after)) = rest.split_once("\\x") {
        bytes.extend_from_slice(before.as_bytes());
        match after.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.extend_from_slice(b"\\x");
                rest = after;
            }
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
#[path = "container_tests.rs"]
mod tests;
