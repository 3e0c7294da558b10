//! Against a made-up host: sockets in its root folder, and what runtimes leave on its disk.

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::{
        fs::PermissionsExt as _,
        net::{UnixListener, UnixStream},
    },
    path::Path,
    time::Instant,
};

use super::*;

const ID: &str = "1f3870be274f6c49b3e31a0c6728957f1f3870be274f6c49b3e31a0c6728957f";
const UID: &str = "0f4e0b1c-3c5e-4b1f-8a53-1c2d3e4f5a6b";
const TASK: &str = "run/containerd/io.containerd.runtime.v2.task";

struct Host {
    root: tempfile::TempDir,
}

impl Host {
    fn new() -> Self {
        Self { root: tempfile::tempdir().unwrap() }
    }

    fn runtimes(&self, labels: &[&str]) -> Runtimes {
        let labels = labels.iter().map(|label| (*label).to_owned()).collect();
        let config = Config { root: Some(self.root.path().to_owned()), sockets: Vec::new(), labels };
        Runtimes::new(config, Path::new("/proc"))
    }

    fn path(&self, path: &str) -> PathBuf {
        let path = self.root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    fn write(&self, path: &str, text: &str) {
        fs::write(self.path(path), text).unwrap();
    }

    /// Serves each connection, until the test is over.
    fn serve(&self, path: &str, serve: impl Fn(UnixStream) + Send + 'static) {
        let listener = UnixListener::bind(self.path(path)).unwrap();
        thread::spawn(move || listener.incoming().flatten().for_each(serve));
    }
}

/// What an engine answers to the request for a list of containers, and to no other. It has only this one.
fn engine(list: &str) -> impl Fn(UnixStream) + Send + 'static {
    let list = list.to_owned();
    move |mut stream| {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            if stream.read(&mut byte).unwrap_or(0) == 0 {
                return;
            }
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        let (status, body) = match head.starts_with("GET /containers/json?") {
            true if head.contains(ID) => ("200 OK", list.as_str()),
            true => ("200 OK", "[]"),
            false => ("400 Bad Request", "{}"),
        };
        let _ = write!(
            stream,
            "HTTP/1.1 {status}\r\nApi-Version: 1.41\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
    }
}

/// As Docker 20.10 answers, and Podman 4.3 with a little less; ids are made up.
fn listed(name: &str, labels: &str) -> String {
    format!(
        r#"[{{"Id":"{ID}","Names":["/other/{name}","/{name}"],"Image":"demo/app:1","ImageID":"sha256:ae636d","Command":"/bin/sleep 30","Created":1795339425,"Ports":[],"Labels":{labels},"State":"running","Status":"Up 1 second","HostConfig":{{"NetworkMode":"host"}},"NetworkSettings":{{"Networks":null}},"Mounts":[],"Name":"","Config":null,"NetworkingConfig":null,"Platform":null,"AdjustCPUShares":false}}]"#
    )
}

fn container(runtime: Option<&'static str>) -> Container {
    Container { id: ID.to_owned(), runtime, ..Container::default() }
}

/// What is known once there is nothing to wait for.
fn settled(runtimes: &Runtimes, container: &Container, cgroup: &str) -> Container {
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut filled = container.clone();
    while !runtimes.fill(&mut filled, cgroup) {
        assert!(Instant::now() < deadline, "{:?}", runtimes.counters());
        thread::sleep(Duration::from_millis(2));
    }
    filled
}

#[test]
fn an_engine_names_its_container() {
    for (runtime, socket) in [("docker", "run/docker.sock"), ("podman", "run/podman/podman.sock")] {
        let host = Host::new();
        let labels = r#"{"team":"red","other":"x","io.kubernetes.pod.name":"not-mine"}"#;
        host.serve(socket, engine(&listed("web", labels)));
        let runtimes = host.runtimes(&["team"]);
        let found = settled(&runtimes, &container(Some(runtime)), "/x");
        let expected = Container {
            name: Some("web".to_owned()),
            image: Some("demo/app:1".to_owned()),
            image_id: Some("sha256:ae636d".to_owned()),
            labels: [("team".to_owned(), "red".to_owned())].into(),
            ..container(Some(runtime))
        };
        assert_eq!(found, expected, "an image's labels make no pod");
        assert_eq!(runtimes.counters().answered, 1);
    }
}

#[test]
fn a_pod_of_docker_s_is_named_by_the_kubelets_labels() {
    let host = Host::new();
    let labels = r#"{"io.kubernetes.pod.name":"web-x2x7z","io.kubernetes.pod.namespace":"shop","io.kubernetes.container.name":"app","io.kubernetes.pod.uid":"other"}"#;
    host.serve("run/docker.sock", engine(&listed("k8s_app_web-x2x7z_shop_1_0", labels)));
    let in_pod = Container { pod_uid: Some(UID.to_owned()), ..container(Some("docker")) };
    let found = settled(&host.runtimes(&[]), &in_pod, "/kubepods/x");
    let field = |field: &Option<String>| field.clone().unwrap_or_default();
    assert_eq!(
        [field(&found.name), field(&found.pod), field(&found.namespace)],
        ["app", "web-x2x7z", "shop"]
    );
    assert_eq!(found.pod_uid.as_deref(), Some(UID), "the cgroup's word counts");
}

#[test]
fn whoever_is_not_asked_is_not_waited_for() {
    let host = Host::new();
    let runtimes = host.runtimes(&[]);
    for runtime in ["crun", "lxc", "systemd-nspawn"] {
        let mut it = container(Some(runtime));
        assert!(runtimes.fill(&mut it, "/x"));
        assert_eq!(it, container(Some(runtime)));
    }
    assert_eq!(runtimes.counters(), Counters::default());
}

#[test]
fn a_socket_that_hangs_holds_nobody() {
    let host = Host::new();
    for socket in ["run/docker.sock", "run/containerd/containerd.sock"] {
        host.serve(socket, |stream| {
            thread::sleep(Duration::from_secs(8));
            drop(stream);
        });
    }
    host.write(
        &format!("var/lib/docker/containers/{ID}/config.v2.json"),
        r#"{"ID":"1","Name":"/web","Image":"sha256:1","Config":{"Image":"demo/app:1","Labels":null}}"#,
    );
    host.write(
        &format!("{TASK}/k8s.io/{ID}/config.json"),
        r#"{"annotations":{"io.kubernetes.cri.container-name":"app"}}"#,
    );
    let runtimes = host.runtimes(&[]);
    let begun = Instant::now();
    assert!(!runtimes.fill(&mut container(Some("docker")), "/x"));
    assert!(begun.elapsed() < TIMEOUT, "asking takes no time");
    assert_eq!(settled(&runtimes, &container(Some("docker")), "/x").name.as_deref(), Some("web"));
    let in_pod = Container { pod_uid: Some(UID.to_owned()), ..container(Some("containerd")) };
    assert_eq!(settled(&runtimes, &in_pod, "/x").name.as_deref(), Some("app"));
    let took = begun.elapsed();
    assert!(took < TIMEOUT * 5, "{took:?}");
    assert_eq!(runtimes.counters().failed, 2);
}

#[test]
fn a_container_that_is_known_nowhere_stays_an_id() {
    let host = Host::new();
    host.serve("run/docker.sock", engine("[]"));
    let runtimes = host.runtimes(&[]);
    assert_eq!(settled(&runtimes, &container(None), "/x"), container(None));
    assert_eq!(Counters { containers: 1, unknown: 1, ..Counters::default() }, runtimes.counters());
}

#[test]
fn a_socket_that_appears_later_is_asked() {
    let host = Host::new();
    let runtimes = host.runtimes(&[]);
    assert_eq!(settled(&runtimes, &container(None), "/x").name, None);
    host.serve("run/docker.sock", engine(&listed("late", "{}")));
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut filled = container(None);
    while filled.name.is_none() && Instant::now() < deadline {
        assert!(runtimes.fill(&mut filled, "/x"), "nobody waits for it any more");
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(filled.name.as_deref(), Some("late"));
}

#[test]
fn garbage_is_no_answer_and_there_is_an_end_to_it() {
    let chunk = format!("10000\r\n{}\r\n", "[".repeat(0x10000));
    let answers: [(&str, String); 7] = [
        ("nothing", String::new()),
        ("no HTTP", "220 smtp.example ESMTP\r\n".repeat(100)),
        ("no JSON", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello".to_owned()),
        ("another shape", "HTTP/1.1 200 OK\r\nContent-Length: 19\r\n\r\n[{\"Names\":{\"a\":1}}]".to_owned()),
        ("a head without end", format!("HTTP/1.1 200 OK\r\n{}", "X: y\r\n".repeat(1 << 20))),
        (
            "a body without end",
            format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{}", chunk.repeat(64)),
        ),
        ("another's container", {
            let body = listed("web", "{}").replace(ID, &ID.replace('1', "2"));
            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        }),
    ];
    for (what, answer) in answers {
        for (runtime, socket) in [("docker", "run/docker.sock"), ("cri-o", "run/crio/crio.sock")] {
            let host = Host::new();
            let answer = answer.clone();
            host.serve(socket, move |mut stream| {
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(answer.as_bytes());
            });
            let runtimes = host.runtimes(&[]);
            let found = settled(&runtimes, &container(Some(runtime)), "/x");
            assert_eq!(found, container(Some(runtime)), "{what}");
        }
    }
}

#[test]
fn a_user_answers_for_that_users_containers_only() {
    let slice = "/user.slice/user-4711.slice/user@4711.service/user.slice/libpod-x.scope";
    let mine = rustix::process::getuid().as_raw();
    let host = Host::new();
    host.serve("run/podman/podman.sock", engine(&listed("roots", "{}")));
    host.serve(&format!("run/user/{mine}/podman/podman.sock"), engine(&listed("mine", "{}")));
    // Another's folder with a link to what is not that user's.
    let other = mine.wrapping_add(4711);
    std::os::unix::fs::symlink(
        host.path("run/podman/podman.sock"),
        host.path(&format!("run/user/{other}/podman/podman.sock")),
    )
    .unwrap();
    let runtimes = host.runtimes(&[]);
    let name = |cgroup: &str| settled(&runtimes, &container(Some("podman")), cgroup).name;
    assert_eq!(name("/machine.slice/libpod-x.scope").as_deref(), Some("roots"));
    assert_eq!(name("/user.slice/user-0.slice/session-1.scope/x").as_deref(), Some("roots"));
    assert_eq!(name(slice), None, "there is no such user here");
    assert_eq!(name(&slice.replace("4711", &other.to_string())), None, "a link is not believed");
    if mine != 0 {
        assert_eq!(name(&slice.replace("4711", &mine.to_string())).as_deref(), Some("mine"));
    }
}

#[test]
fn containerds_tasks_tell_of_pods_and_of_names() {
    let host = Host::new();
    host.write(
        &format!("{TASK}/k8s.io/{ID}/config.json"),
        &format!(
            r#"{{"ociVersion":"1.0.2","annotations":{{"io.kubernetes.cri.container-type":"container","io.kubernetes.cri.container-name":"app","io.kubernetes.cri.image-name":"registry.example/app:2","io.kubernetes.cri.sandbox-name":"web-x2x7z","io.kubernetes.cri.sandbox-namespace":"shop","io.kubernetes.cri.sandbox-uid":"{UID}"}}}}"#
        ),
    );
    host.write(&format!("{TASK}/default/box/config.json"), r#"{"linux":{"cgroupsPath":"/default/box"}}"#);
    let runtimes = host.runtimes(&[]);
    let in_pod = Container { pod_uid: Some(UID.to_owned()), ..container(Some("containerd")) };
    let found = settled(&runtimes, &in_pod, "/kubepods/x");
    let expected = Container {
        name: Some("app".to_owned()),
        image: Some("registry.example/app:2".to_owned()),
        pod: Some("web-x2x7z".to_owned()),
        namespace: Some("shop".to_owned()),
        ..in_pod
    };
    assert_eq!(found, expected);

    let id = |path| runtimes.container(path).map(|it| (it.id, it.runtime));
    let named = Some(("box".to_owned(), Some("containerd")));
    assert_eq!(id("/default/box"), named);
    assert_eq!(id("/default/box/inner"), named);
    assert_eq!(id("/other/box"), None, "the same name elsewhere is another cgroup");
    assert_eq!(id("/default/box2"), None);
    assert_eq!(id("/../default"), None);
}

#[test]
fn cri_o_and_podman_leave_names_on_disk() {
    let host = Host::new();
    host.write(
        &format!("run/containers/storage/overlay-containers/{ID}/userdata/config.json"),
        r#"{"annotations":{"io.kubernetes.container.name":"app","io.kubernetes.pod.name":"web-x2x7z","io.kubernetes.pod.namespace":"shop","io.kubernetes.cri-o.ImageName":"registry.example/app:2","io.kubernetes.cri-o.ImageRef":"0123"}}"#,
    );
    host.write(
        "var/lib/containers/storage/overlay-containers/containers.json",
        &format!(
            r#"[{{"id":"{ID}","names":["web2"],"image":"e1c2","layer":"0e00","metadata":"{{\"image-name\":\"localhost/demo/app:1\",\"image-id\":\"e1c2\",\"name\":\"web2\",\"created-at\":1795339428}}","flags":{{"Volatile":true}}}}]"#
        ),
    );
    let runtimes = host.runtimes(&[]);
    let in_pod = Container { pod_uid: Some(UID.to_owned()), ..container(Some("cri-o")) };
    let found = settled(&runtimes, &in_pod, "/kubepods/x");
    assert_eq!((found.name.as_deref(), found.pod.as_deref()), (Some("app"), Some("web-x2x7z")));
    assert_eq!(found.image_id.as_deref(), Some("0123"));
    let found = settled(&runtimes, &container(Some("podman")), "/machine.slice/x");
    assert_eq!((found.name.as_deref(), found.image.as_deref()), (Some("web2"), Some("localhost/demo/app:1")));
}

#[test]
fn files_that_are_none_are_not_read() {
    let host = Host::new();
    let file = host.path(&format!("var/lib/docker/containers/{ID}/config.v2.json"));
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &file,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    let runtimes = host.runtimes(&[]);
    assert_eq!(settled(&runtimes, &container(Some("docker")), "/x").name, None);
    fs::remove_file(&file).unwrap();
    fs::File::create(&file).unwrap().set_len(2 * limited::MAX_ANSWER as u64).unwrap();
    let runtimes = host.runtimes(&[]);
    assert_eq!(settled(&runtimes, &container(Some("docker")), "/x").name, None);
    assert_eq!(runtimes.counters().failed, 1);
}

#[test]
fn what_is_kept_is_bounded() {
    let long = "é".repeat(10_000);
    let description = Description {
        name: Some(long.clone()),
        labels: [("team".to_owned(), long.clone()), ("other".to_owned(), long)].into(),
        ..Description::default()
    };
    let mut filled = container(None);
    Details::new(description, &["team".to_owned()].into(), false).fill(&mut filled);
    assert_eq!(filled.name.map(|name| name.len()), Some(512));
    assert_eq!(
        filled.labels.into_iter().map(|(label, value)| (label, value.len())).collect::<Vec<_>>(),
        [("team".to_owned(), 512)]
    );
}

#[test]
fn a_socket_is_said_by_what_it_speaks() {
    let parse = |text: &str| Socket::try_from(text.to_owned());
    assert_eq!(
        parse("cri:///run/x.sock").unwrap(),
        Socket { api: SocketApi::Cri, path: "/run/x.sock".into() }
    );
    assert_eq!(parse("docker:///a").unwrap().api, SocketApi::Docker);
    for text in ["/run/docker.sock", "unix:///x", "docker://run/docker.sock", ""] {
        assert!(parse(text).unwrap_err().to_string().contains("docker:///path"), "{text}");
    }
}

#[test]
fn sockets_that_are_there_are_said_to_answer_or_not() {
    let host = Host::new();
    host.serve("run/docker.sock", engine(&listed("web", "{}")));
    host.serve("run/user/7/docker.sock", engine(&listed("web", "{}"))); // Not that user's.
    host.serve("run/podman/podman.sock", |mut stream| drop(stream.write_all(b"HTTP/1.1 500 No\r\n\r\n")));
    drop(UnixListener::bind(host.path("run/crio/crio.sock")).unwrap());
    host.write("etc/group", "root:x:0:\nengines:x:4711:me\n");
    std::os::unix::fs::chown(host.path("run/docker.sock"), None, Some(4711)).unwrap_or_default();
    fs::set_permissions(host.path("run/docker.sock"), fs::Permissions::from_mode(0o660)).unwrap();
    let sockets = vec![Socket { api: SocketApi::Cri, path: "/nowhere.sock".into() }];
    let config = Config { root: Some(host.root.path().to_owned()), sockets, labels: BTreeSet::new() };

    let reports = survey(&config, Path::new("/proc")).unwrap();
    let found: Vec<_> = reports
        .iter()
        .map(|it| (it.path.strip_prefix(host.root.path()).unwrap_or(&it.path), &it.answer))
        .collect();
    assert_eq!(found[0], (Path::new("/nowhere.sock"), &SocketAnswer::Nobody), "the operator said that it is");
    assert_eq!(found[1], (Path::new("run/docker.sock"), &SocketAnswer::Answers));
    assert_eq!(found[2], (Path::new("run/user/7/docker.sock"), &SocketAnswer::Nobody));
    assert_eq!(found[3].0, Path::new("run/podman/podman.sock"));
    assert!(matches!(found[3].1, SocketAnswer::Failed(_)), "{:?}", found[3]);
    assert_eq!(found[4], (Path::new("run/crio/crio.sock"), &SocketAnswer::Nobody));
    assert_eq!(found.len(), 5);
    // Only root can give a file to another group.
    assert!([None, Some("engines")].contains(&reports[1].group.as_deref()), "{:?}", reports[1]);
}
