//! End to end: real clients make real TLS calls to a stand-in provider on loopback, the daemon
//! watches through the real kernel, and what it says is laid beside what the stand-in answered.
//!
//! | module | what |
//! |---|---|
//! | [`standin`], [`scenario`], [`tls`] | the provider, what it is asked to answer, its certificate |
//! | [`client`], [`proxy`] | curl, openssl, Python's SDKs; nginx |
//! | [`container`], [`containerd`], [`engine`], [`runtime`] | a container of crun's; containerd, with Kubernetes' interface; Docker and Podman; what these have of the machine |
//! | [`golang`], [`rust`], [`server`] | clients and servers that are built here |
//! | [`daemon`], [`call`], [`metrics`], [`api`], [`bpf`], [`probes`] | the daemon, its event log, its metrics, its API, the kernel |
//! | [`prometheus`] | a real Prometheus server, and `promtool` |
//! | [`packed`], [`overlay`], [`systemd`] | what `cargo xtask` packs, and a copy of the machine to install it on |
//! | [`kubernetes`] | what a cluster is told |
//! | [`network`] | a network of a test's own |
//! | [`compare`] | the daemon's word beside the stand-in's |
//! | [`ledger`] | a ledger, and what the command line says of it |
//! | [`terminal`] | a terminal with a program in it |
//! | [`child`], [`machine`], [`wait`] | child processes, what a machine needs, patience |
pub mod api;
pub mod bpf;
pub mod call;
pub mod cgroup;
pub mod child;
pub mod client;
pub mod collector;
pub mod compare;
pub mod container;
pub mod containerd;
pub mod daemon;
pub mod engine;
pub mod golang;
pub mod kubernetes;
pub mod ledger;
pub mod machine;
pub mod metrics;
pub mod network;
pub mod overlay;
pub mod packed;
pub mod probes;
pub mod prometheus;
pub mod proxy;
pub mod runtime;
pub mod rust;
pub mod scenario;
pub mod server;
pub mod standin;
pub mod systemd;
pub mod terminal;
pub mod tls;
pub mod wait;
