//! The Debian package, really installed, upgraded, removed and purged: on a copy of this machine, where no
//! systemd runs.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use llm_tracker_tests::{machine, overlay::Overlay, packed};

/// Everything of the package's that is there, but for what dpkg remembers of it.
const LEFT: &str = "find /etc /usr /var/lib/systemd /var/log -xdev -name '*llm-tracker*' -not -path '/usr/src/*' \
                    -not -path '/usr/local/*' | sort";

#[test]
fn it_installs_upgrades_removes_and_purges() -> Result<()> {
    ensure!(machine::is_root(), "a package is installed by root");
    let package = packed::pack("deb")?;
    let machine = Machine::with(&package)?;

    let before = machine.run(LEFT)?;
    machine.run("dpkg --install /package/1.deb")?;
    machine
        .run("llm-tracker --version && llm-tracker run --help && man --where llm-tracker llm-tracker-run")?;
    machine
        .run("bash -c '. /usr/share/bash-completion/completions/llm-tracker && complete -p llm-tracker'")?;
    machine.run("cd /usr/share/llm-tracker/prometheus && promtool check rules limits.yml rules.yml alerts.yml")?;
    let started = machine
        .run("sed -n 's/^ExecStart=\\([^ ]*\\).*/\\1/p' /usr/lib/systemd/system/llm-tracker.service")?;
    machine.run(&format!("command -v {started}"))?;
    ensure!(machine.enabled()?, "the unit is not enabled");

    // What the administrator has decided stays; what he has not touched is as the new version has it.
    machine.run("echo '# ours' >> /etc/llm-tracker.toml && systemctl disable llm-tracker.service")?;
    machine.run("dpkg --install /package/2.deb")?;
    ensure!(
        machine.run("cat /etc/llm-tracker.toml")?.ends_with("# ours"),
        "the configuration is overwritten"
    );
    ensure!(machine.run("cat /etc/logrotate.d/llm-tracker")?.ends_with("# new"), "an old file is kept");
    ensure!(!machine.enabled()?, "the upgrade has enabled what was disabled");
    machine.run("systemctl enable llm-tracker.service && dpkg --install /package/2.deb")?;
    ensure!(machine.enabled()?, "the second upgrade has disabled what was enabled");

    machine.run("mkdir -p /var/log/llm-tracker && touch /var/log/llm-tracker/events.jsonl")?;
    machine.run("dpkg --remove llm-tracker && ! command -v llm-tracker")?;
    ensure!(
        machine.run("cat /etc/llm-tracker.toml")?.ends_with("# ours"),
        "removal has taken the configuration"
    );
    machine.run("test -e /var/log/llm-tracker/events.jsonl")?;
    machine.run("dpkg --purge llm-tracker")?;
    let after = machine.run(LEFT)?;
    ensure!(after == before, "this is left:\n{after}\nof this there was before:\n{before}");
    Ok(())
}

/// A copy of this machine with two versions of the package in `/package`.
struct Machine(Overlay);

impl Machine {
    fn with(package: &Path) -> Result<Self> {
        let overlay = Overlay::new()?;
        let package = package.to_str().context("not a path in UTF-8")?;
        overlay.run(&format!(
            "mkdir /package && cp {package} /package/1.deb
            dpkg-deb --raw-extract /package/1.deb /package/2
            sed -i 's/^Version: .*/&.1/' /package/2/DEBIAN/control
            echo '# new' >> /package/2/etc/logrotate.d/llm-tracker
            dpkg-deb -Zgzip -z1 --root-owner-group --build /package/2 /package/2.deb"
        ))?;
        Ok(Self(overlay))
    }

    /// What a script prints, without the last newline.
    fn run(&self, script: &str) -> Result<String> {
        let finished = self.0.run(script).with_context(|| script.to_owned())?;
        Ok(finished.stdout.trim_end().to_owned())
    }

    fn enabled(&self) -> Result<bool> {
        Ok(self.run("systemctl is-enabled llm-tracker.service || true")? == "enabled")
    }
}
