use super::*;

const A: &str = "1f3870be274f6c49b3e31a0c6728957f1f3870be274f6c49b3e31a0c6728957f";
const B: &str = "9b74c9897bac770ffc029102a200c5de9b74c9897bac770ffc029102a200c5de";
const POD: &str = "0f4e0b1c-3c5e-4b1f-8a53-1c2d3e4f5a6b";
const POD_: &str = "0f4e0b1c_3c5e_4b1f_8a53_1c2d3e4f5a6b";
const STATIC: &str = "5e4d3c2b1a09f8e7d6c5b4a392817060";

/// `{A}` and the like stand for the constants; id, runtime, pod.
type Row = (&'static str, Option<(&'static str, Option<&'static str>, Option<&'static str>)>);

const fn is(
    id: &'static str,
    runtime: &'static str,
) -> Option<(&'static str, Option<&'static str>, Option<&'static str>)> {
    Some((id, Some(runtime), None))
}

const fn pod(
    id: &'static str,
    runtime: &'static str,
    uid: &'static str,
) -> Option<(&'static str, Option<&'static str>, Option<&'static str>)> {
    Some((id, Some(runtime), Some(uid)))
}

#[rustfmt::skip]
const PATHS: &[Row] = &[
    // No container.
    ("/", None),
    ("", None),
    ("/user.slice/user-1000.slice/session-3.scope", None),
    ("/user.slice/user-1000.slice/user@1000.service/app.slice/app-gnome-firefox-4711.scope", None),
    ("/system.slice/docker.service", None),
    ("/system.slice/containerd.service", None),
    ("/system.slice/crio.service", None),
    ("/init.scope", None),
    ("/docker", None),
    ("/lxc", None),
    ("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{POD_}.slice", None),
    ("/system.slice/docker-not-a-hash.scope", None),
    ("/system.slice/docker-1F3870BE274F6C49B3E31A0C6728957F1F3870BE274F6C49B3E31A0C6728957F.scope", None),
    // docker: cgroupfs driver, systemd driver, rootless, --cgroup-parent, processes further down.
    ("/docker/{A}", is(A, "docker")),
    ("/docker/{A}/init.scope", is(A, "docker")),
    ("/system.slice/docker-{A}.scope", is(A, "docker")),
    ("/system.slice/docker-{A}.scope/system.slice/nginx.service", is(A, "docker")),
    ("/user.slice/user-1000.slice/user@1000.service/user.slice/docker-{A}.scope", is(A, "docker")),
    ("/moby/{A}", is(A, "docker")),
    ("/actions_job/{A}", Some((A, None, None))),
    ("/ecs/0d1e2f3a4b5c6d7e8f90a1b2c3d4e5f6/{A}", Some((A, None, None))),
    ("/ecstasks.slice/ecstasks-0d1e2f3a4b5c6d7e8f90a1b2c3d4e5f6.slice/docker-{A}.scope", is(A, "docker")),
    // Seen from inside another cgroup namespace.
    ("/../docker-{A}.scope", is(A, "docker")),
    ("/../../../system.slice/docker-{A}.scope", is(A, "docker")),
    // docker in docker, docker in a pod: the innermost.
    ("/docker/{A}/docker/{B}", is(B, "docker")),
    ("/system.slice/docker-{A}.scope/docker/{B}/init", is(B, "docker")),
    ("/kubepods/burstable/pod{POD}/{A}/docker/{B}", pod(B, "docker", POD)),
    // containerd and the CRI: three qualities of service, two drivers, kind's extra slice.
    ("/kubepods/burstable/pod{POD}/{A}", pod(A, "containerd", POD)),
    ("/kubepods/besteffort/pod{POD}/{A}", pod(A, "containerd", POD)),
    ("/kubepods/pod{POD}/{A}", pod(A, "containerd", POD)),
    ("/kubepods/burstable/pod{STATIC}/{A}", pod(A, "containerd", STATIC)),
    ("/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{POD_}.slice/cri-containerd-{A}.scope", pod(A, "containerd", POD)),
    ("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{STATIC}.slice/cri-containerd-{A}.scope", pod(A, "containerd", STATIC)),
    ("/kubepods.slice/kubepods-pod{POD_}.slice/cri-containerd-{A}.scope", pod(A, "containerd", POD)),
    ("/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{POD_}.slice/cri-containerd-{A}.scope", pod(A, "containerd", POD)),
    ("/docker/{B}/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod{POD_}.slice/cri-containerd-{A}.scope", pod(A, "containerd", POD)),
    ("/system.slice/containerd.service/kubepods-burstable-pod{POD_}.slice:cri-containerd:{A}", pod(A, "containerd", POD)),
    ("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{POD_}.slice/docker-{A}.scope", pod(A, "docker", POD)),
    ("/system.slice/nerdctl-{A}.scope", is(A, "containerd")),
    ("/default/{A}", Some((A, None, None))),
    ("/k8s.io/{A}", Some((A, None, None))),
    // podman: system, user, cgroupfs, split, with its sub-cgroup; conmon is beside it.
    ("/machine.slice/libpod-{A}.scope", is(A, "podman")),
    ("/machine.slice/libpod-{A}.scope/container", is(A, "podman")),
    ("/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{A}.scope/container", is(A, "podman")),
    ("/libpod_parent/libpod-{A}", is(A, "podman")),
    ("/libpod_parent/{A}", Some((A, None, None))),
    ("/system.slice/web.service/libpod-payload-{A}", is(A, "podman")),
    ("/machine.slice/libpod-conmon-{A}.scope", None),
    ("/libpod_parent/conmon", None),
    ("/system.slice/web.service/supervisor", None),
    ("/docker/{B}/machine.slice/libpod-conmon-{A}.scope", is(B, "docker")),
    // cri-o.
    ("/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{POD_}.slice/crio-{A}.scope", pod(A, "cri-o", POD)),
    ("/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{POD_}.slice/crio-{A}.scope/container", pod(A, "cri-o", POD)),
    ("/kubepods/burstable/pod{POD}/crio-{A}", pod(A, "cri-o", POD)),
    ("/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{POD_}.slice/crio-conmon-{A}.scope", None),
    // crun and runc by hand.
    ("/system.slice/crun-mybox.scope", is("mybox", "crun")),
    ("/crun/mybox", is("mybox", "crun")),
    ("/user.slice:runc:mybox", is("mybox", "runc")),
    ("/system.slice/runc-my-box.scope", is("my-box", "runc")),
    // systemd-nspawn: template unit, scope, escaped name; nspawn itself is beside its payload.
    ("/machine.slice/systemd-nspawn@debian.service", is("debian", "systemd-nspawn")),
    ("/machine.slice/systemd-nspawn@debian.service/payload/system.slice/nginx.service", is("debian", "systemd-nspawn")),
    ("/machine.slice/systemd-nspawn@my\\x2dbox.service/payload", is("my-box", "systemd-nspawn")),
    ("/machine.slice/machine-fedora.scope", is("fedora", "systemd-nspawn")),
    ("/machine.slice/machine-my\\x2dbox.scope/payload", is("my-box", "systemd-nspawn")),
    ("/machine.slice/systemd-nspawn@debian.service/supervisor", None),
    // libvirt: a virtual machine is no container, its lxc is.
    ("/machine.slice/machine-qemu\\x2d1\\x2dweb.scope", None),
    ("/machine.slice/machine-qemu\\x2d1\\x2dweb.scope/libvirt/emulator", None),
    ("/machine.slice/machine-lxc\\x2d4711\\x2dweb.scope", is("web", "lxc")),
    ("/machine.slice/machine-qemu\\x2dtests.scope", is("qemu-tests", "systemd-nspawn")),
    // lxc: v1, v2, Proxmox; the monitor is beside its payload.
    ("/lxc/web", is("web", "lxc")),
    ("/lxc/101/ns/system.slice/postfix.service", is("101", "lxc")),
    ("/lxc.payload.web/init.scope", is("web", "lxc")),
    ("/lxc.payload/web", is("web", "lxc")),
    ("/lxc.payload.project_web/system.slice/docker-{A}.scope", is(A, "docker")),
    ("/lxc.monitor.web", None),
    ("/lxc.monitor/web", None),
];

fn fill(template: &str) -> String {
    [("{A}", A), ("{B}", B), ("{POD}", POD), ("{POD_}", POD_), ("{STATIC}", STATIC)]
        .iter()
        .fold(template.to_owned(), |path, (name, value)| path.replace(name, value))
}

#[test]
fn paths_of_the_real_world() {
    for (template, expected) in PATHS {
        let found = container(&fill(template));
        let found = found.as_ref().map(|c| (c.id.as_str(), c.runtime, c.pod_uid.as_deref()));
        assert_eq!(found, *expected, "{template}");
    }
}

#[test]
fn escapes_are_undone_and_broken_ones_kept() {
    assert_eq!(unescape("a\\x2db\\x2dc"), "a-b-c");
    assert_eq!(unescape("\\xc3\\xa9"), "é");
    assert_eq!(unescape("a\\x"), "a\\x");
    assert_eq!(unescape("a\\xzz\\x2d"), "a\\xzz-");
}

proptest::proptest! {
    #[test]
    fn no_path_is_too_strange(path in "[/a-z0-9.:@\\\\_é-]{0,200}") {
        let _ = container(&path);
        let _ = pod_uid(&path);
    }
}
