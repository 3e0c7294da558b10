//! cgroup paths: from `/proc/PID/cgroup`, and from the kernel's id where the process is gone.
//! See cgroups(7).

use std::{
    collections::HashMap,
    ffi::CString,
    fs, io,
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::{ffi::OsStrExt as _, fs::DirEntryExt as _},
    },
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::made::Cgroups;

/// v1 hierarchies, the most telling first. systemd's is where units and scopes are.
const V1_PREFERENCE: [&str; 5] = ["name=systemd", "memory", "pids", "cpu", "cpuacct"];

/// The path that says most, from the text of `/proc/PID/cgroup`: the v2 one; on a hybrid host where
/// v2 says only `/`, the best v1 one.
pub(super) fn path(proc_cgroup: &str) -> Option<String> {
    let mut v2 = None;
    let mut v1: Option<(usize, &str)> = None;
    for line in proc_cgroup.lines() {
        // hierarchy-ID:controller-list:path, and the path may contain colons.
        let mut fields = line.splitn(3, ':');
        let (Some(id), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        if !path.starts_with('/') {
            continue;
        }
        if is_above(path) {
            // Outside of the cgroup namespace that the daemon is in, a container's, paths begin at its root,
            // wherever that is: the id says more.
            if id == "0" {
                return None;
            }
            continue;
        }
        // Appended by the kernel once the directory is removed.
        let path = path.strip_suffix(" (deleted)").unwrap_or(path);
        if id == "0" && controllers.is_empty() {
            v2 = Some(path);
        } else if path != "/" {
            let rank = controllers
                .split(',')
                .filter_map(|controller| V1_PREFERENCE.iter().position(|known| *known == controller))
                .min()
                .unwrap_or(V1_PREFERENCE.len());
            if v1.is_none_or(|(best, _)| rank < best) {
                v1 = Some((rank, path));
            }
        }
    }
    match (v2, v1) {
        (None | Some("/"), Some((_, path))) => Some(path.to_owned()),
        (Some(path), _) => Some(path.to_owned()),
        // Every v1 hierarchy says `/`, and there is no other.
        (None, None) => proc_cgroup.lines().any(|line| line.ends_with(":/")).then(|| "/".to_owned()),
    }
}

/// The path in systemd's own hierarchy of v1, which it keeps on hybrid hosts too.
pub(super) fn systemd(proc_cgroup: &str) -> Option<&str> {
    proc_cgroup.lines().find_map(|line| line.split_once(":name=systemd:")).map(|(_, path)| path)
}

/// Whether a path leaves the cgroup namespace of whoever reads it.
fn is_above(path: &str) -> bool {
    path == "/.." || path.starts_with("/../")
}

/// The path in the v2 hierarchy, whatever it is worth on this host.
pub(super) fn v2(proc_cgroup: &str) -> Option<&str> {
    let path = proc_cgroup.lines().find_map(|line| line.strip_prefix("0::"))?;
    let path = path.strip_suffix(" (deleted)").unwrap_or(path);
    (!is_above(path)).then_some(path)
}

/// Where the cgroup v2 hierarchy is mounted with its root, from the text of `/proc/self/mountinfo`.
pub(super) fn v2_mount(mountinfo: &str) -> Option<PathBuf> {
    let mounts = mountinfo.lines().filter_map(|line| {
        // id parent major:minor root mountpoint options [optional...] - type source superoptions
        let (mount, filesystem) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        (filesystem.starts_with("cgroup2 ") && (root == "/" || is_above(root))).then_some((root, point))
    });
    // In a container that was given the host's, `/` is the container's own.
    let (_, point) = mounts.min_by_key(|(root, _)| !is_above(root))?;
    Some(PathBuf::from(unescape_octal(point)))
}

/// mountinfo writes space, tab, newline and backslash as `\040` and the like.
fn unescape_octal(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        out.push_str(before);
        let code = after.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        (rest, _) = match code {
            Some(byte) => (&after[3..], out.push(char::from(byte))),
            None => (after, out.push('\\')),
        };
    }
    out + rest
}

/// cgroup v2 ids to paths.
///
/// The id is the inode number of the cgroup's directory. The kernel opens a directory by it
/// (`open_by_handle_at`); where that is not allowed, the tree is walked, rarely.
#[derive(Debug)]
pub(super) struct Paths {
    mount: Option<PathBuf>,
    /// Those that were told of or asked for.
    made: Cgroups,
    /// Whether somebody tells.
    told: bool,
    /// Those that the last walk has found.
    known: HashMap<u64, String>,
    walked: Option<Instant>,
    limits: Limits,
}

/// What looking for ids may cost.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Paths kept of a walk.
    pub(super) known: usize,
    /// Directories read by one walk.
    pub(super) directories: usize,
    /// Least time between two walks.
    pub(super) interval: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { known: 8192, directories: 8192, interval: Duration::from_secs(5) }
    }
}

impl Paths {
    pub(super) fn new(mount: Option<PathBuf>, limits: Limits) -> Self {
        Self { mount, made: Cgroups::default(), told: false, known: HashMap::new(), walked: None, limits }
    }

    /// Asks `made`, which somebody tells of cgroups as they are made.
    pub(super) fn with_made(self, made: Cgroups) -> Self {
        Self { made, told: true, ..self }
    }

    /// The path of a cgroup that exists, or that was seen while it did.
    pub(super) fn get(&mut self, id: u64) -> Option<String> {
        if let Some(path) = self.remembered(id).or_else(|| self.known.get(&id).cloned()) {
            return Some(path);
        }
        let mount = self.mount.clone()?;
        let found = match by_handle(&mount, id) {
            Ok(path) => Some(path),
            // The cgroup is gone, and a walk would not find it either.
            Err(error) if error.raw_os_error() == Some(libc::ESTALE) => None,
            Err(_) => {
                if self.walked.is_some_and(|at| at.elapsed() < self.limits.interval) {
                    return None;
                }
                self.walked = Some(Instant::now());
                self.walk(&mount);
                return self.known.get(&id).cloned();
            }
        };
        if let Some(path) = &found {
            self.made.learn(id, path);
        }
        found
    }

    /// Whether the path of one that is gone may be known soon.
    pub(super) const fn are_told(&self) -> bool {
        self.told
    }

    /// The path of a cgroup that was told of or asked for before.
    pub(super) fn remembered(&self, id: u64) -> Option<String> {
        self.made.path(id)
    }

    /// The id of a cgroup that exists.
    pub(super) fn id(&self, path: &str) -> Option<u64> {
        let directory = self.mount.as_ref()?.join(path.strip_prefix('/')?);
        Some(std::os::unix::fs::MetadataExt::ino(&fs::metadata(directory).ok()?))
    }

    /// Remembers a cgroup while it exists, so that its id says something when it is gone.
    pub(super) fn remember(&self, path: &str) {
        if let Some(id) = self.id(path) {
            self.made.learn(id, path);
        }
    }

    /// Remembers what a walk has found.
    fn learn(&mut self, id: u64, path: String) {
        if self.known.len() >= self.limits.known && !self.known.contains_key(&id) {
            self.known.clear();
        }
        self.known.insert(id, path);
    }

    fn walk(&mut self, mount: &Path) {
        self.known.clear();
        if let Ok(root) = fs::metadata(mount) {
            self.learn(std::os::unix::fs::MetadataExt::ino(&root), "/".to_owned());
        }
        let mut pending = vec![mount.to_owned()];
        let mut budget = self.limits.directories.min(self.limits.known.saturating_sub(1));
        while let Some(dir) = pending.pop() {
            // A cgroup may go while the tree is walked.
            let Ok(entries) = fs::read_dir(&dir) else { continue };
            for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
                if budget == 0 {
                    return;
                }
                budget -= 1;
                if let Some(path) = below(mount, &entry.path()) {
                    self.learn(entry.ino(), path);
                }
                pending.push(entry.path());
            }
        }
    }
}

/// `path` seen from the root of the hierarchy.
fn below(mount: &Path, path: &Path) -> Option<String> {
    let rest = path.strip_prefix(mount).ok()?;
    Some(format!("/{}", String::from_utf8_lossy(rest.as_os_str().as_bytes())))
}

/// The kernel's file handle for a cgroup: `FILEID_KERNFS`, the 64-bit id. Needs
/// `CAP_DAC_READ_SEARCH`; Linux 5.5 and newer.
fn by_handle(mount: &Path, id: u64) -> io::Result<String> {
    /// `struct file_handle` of open_by_handle_at(2), with room for this one kind.
    #[repr(C)]
    struct FileHandle {
        bytes: u32,
        kind: i32,
        id: [u8; 8],
    }
    const FILEID_KERNFS: i32 = 0xfe;

    let hierarchy = fs::File::open(mount)?;
    let mut handle = FileHandle { bytes: 8, kind: FILEID_KERNFS, id: id.to_ne_bytes() };
    // SAFETY: `handle` is laid out as the call wants it and outlives it; the call reads 8 bytes
    // past the two header fields, as `bytes` says.
    let fd = unsafe {
        libc::open_by_handle_at(
            hierarchy.as_raw_fd(),
            (&raw mut handle).cast(),
            libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC,
        )
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call just returned it, and nobody else has it.
    let directory = unsafe { OwnedFd::from_raw_fd(fd) };
    let link = CString::new(format!("/proc/self/fd/{}", directory.as_raw_fd()))?;
    let path = rustix::fs::readlink(&link, Vec::new())?;
    let path = Path::new(std::ffi::OsStr::from_bytes(path.to_bytes())).to_owned();
    below(mount, &path).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v2_wins_where_it_says_something() {
        assert_eq!(path("0::/user.slice/user-1000.slice\n").as_deref(), Some("/user.slice/user-1000.slice"));
        let hybrid = "2:pids:/a\n1:name=systemd:/system.slice/x.service\n0::/system.slice/x.service\n";
        assert_eq!(path(hybrid).as_deref(), Some("/system.slice/x.service"));
        assert_eq!(path("0::/\n").as_deref(), Some("/"));
    }

    #[test]
    fn hybrid_hosts_fall_back_to_the_most_telling_v1() {
        let docker = "11:cpu,cpuacct:/c\n5:memory:/m\n1:name=systemd:/docker/abc\n0::/\n";
        assert_eq!(path(docker).as_deref(), Some("/docker/abc"));
        let no_systemd = "9:name=systemd:/\n8:pids:/\n4:memory:/box/1\n3:cpuset:/other\n0::/\n";
        assert_eq!(path(no_systemd).as_deref(), Some("/box/1"));
        assert_eq!(path("3:cpuset:/other\n0::/\n").as_deref(), Some("/other"));
        assert_eq!(path("3:net_cls,net_prio:/o\n2:cpu,cpuacct:/p\n").as_deref(), Some("/p"));
        assert_eq!(path("2:cpu:/\n1:name=systemd:/\n").as_deref(), Some("/"));
    }

    #[test]
    fn removed_colons_and_garbage() {
        assert_eq!(path("0::/a/b (deleted)\n").as_deref(), Some("/a/b"));
        let colons = "0::/system.slice/kubepods-pod1.slice:cri-containerd:ab\n";
        assert_eq!(path(colons).as_deref(), Some("/system.slice/kubepods-pod1.slice:cri-containerd:ab"));
        assert_eq!(path(""), None);
        assert_eq!(path("nonsense\n0\n::"), None);
    }

    #[test]
    fn what_another_namespace_is_told_is_no_path() {
        assert_eq!(path("1:name=systemd:/\n0::/../../kubepods-pod1.slice/cri-containerd-ab.scope\n"), None);
        assert_eq!(path("4:memory:/..\n0::/\n").as_deref(), Some("/"));
        assert_eq!(path("0::/..a/b\n").as_deref(), Some("/..a/b"));
    }

    #[test]
    fn the_v2_mount_is_found_wherever_it_is() {
        let hybrid = "30 23 0:26 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro\n\
                      31 30 0:27 / /sys/fs/cgroup/unified rw shared:10 - cgroup2 cgroup2 rw,nsdelegate\n\
                      32 30 0:28 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n";
        assert_eq!(v2_mount(hybrid).as_deref(), Some(Path::new("/sys/fs/cgroup/unified")));
        let given = "31 30 0:27 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n\
                     32 30 0:27 /../../.. /host/cgroup ro - cgroup2 cgroup2 rw\n";
        assert_eq!(v2_mount(given).as_deref(), Some(Path::new("/host/cgroup")));
        let part = "31 30 0:27 /docker/1 /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n\
                    32 30 0:27 / /mnt/a\\040b\\134c rw - cgroup2 cgroup2 rw\n";
        assert_eq!(v2_mount(part).as_deref(), Some(Path::new("/mnt/a b\\c")));
        assert_eq!(v2_mount("1 2 3:4 / / rw - ext4 /dev/vda rw\n"), None);
        assert_eq!(unescape_octal("a\\"), "a\\");
        assert_eq!(unescape_octal("\\9é"), "\\9é");
    }

    #[test]
    fn a_walk_is_bounded_and_rare() {
        let tree = tempfile::tempdir().unwrap();
        for name in ["a", "a/b", "c"] {
            fs::create_dir(tree.path().join(name)).unwrap();
        }
        let ino =
            |name: &str| std::os::unix::fs::MetadataExt::ino(&fs::metadata(tree.path().join(name)).unwrap());
        let limits = Limits { known: 16, directories: 16, interval: Duration::from_secs(3600) };
        let mut paths = Paths::new(Some(tree.path().to_owned()), limits);
        paths.walk(tree.path());
        assert_eq!(paths.known.get(&ino("a/b")).map(String::as_str), Some("/a/b"));
        assert_eq!(paths.known.get(&ino(".")).map(String::as_str), Some("/"));
        assert_eq!(paths.known.len(), 4);

        let mut tight = Paths::new(Some(tree.path().to_owned()), Limits { directories: 1, ..limits });
        tight.walk(tree.path());
        assert_eq!(tight.known.len(), 2, "the root and one more");
    }

    #[test]
    fn without_a_mount_nothing_is_known() {
        assert_eq!(Paths::new(None, Limits::default()).get(1), None);
    }

    /// On the real hierarchy, where there is one and it may be written to.
    #[test]
    fn real_cgroups_are_found_by_id_until_they_are_gone() {
        let mountinfo = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let Some(mount) = v2_mount(&mountinfo) else { return };
        let name = format!("llm-tracker-test-{}", std::process::id());
        let dir = mount.join(&name);
        if fs::create_dir(&dir).is_err() {
            return;
        }
        let id = std::os::unix::fs::MetadataExt::ino(&fs::metadata(&dir).unwrap());
        let mut paths = Paths::new(Some(mount.clone()), Limits::default());
        let found = paths.get(id);
        let handle = by_handle(&mount, id);
        assert_eq!(paths.id(&format!("/{name}")), Some(id));
        fs::remove_dir(&dir).unwrap();
        assert_eq!(found, Some(format!("/{name}")));
        assert_eq!(paths.get(id), Some(format!("/{name}")), "remembered");
        if handle.is_ok() {
            // Not where the capability or the kernel's support is missing.
            assert_eq!(by_handle(&mount, id).unwrap_err().raw_os_error(), Some(libc::ESTALE));
        }
        assert_eq!(Paths::new(Some(mount.clone()), Limits::default()).get(id), None);

        fs::create_dir(&dir).unwrap();
        let mut paths = Paths::new(Some(mount), Limits::default());
        let id = paths.id(&format!("/{name}")).unwrap();
        paths.remember(&format!("/{name}"));
        fs::remove_dir(&dir).unwrap();
        assert_eq!(paths.get(id), Some(format!("/{name}")), "nobody had asked while it was there");
    }
}
