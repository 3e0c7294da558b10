//! The Debian package, really installed, upgraded, removed and purged: on a copy of this machine, where no
//! systemd runs, and where one does.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use llm_tracker_tests::{machine, overlay::Overlay, packed, systemd::Systemd};

/// Everything of the package's that is there, but for what dpkg remembers of it.
const LEFT: &str = "find /etc /usr /var/lib/systemd /var/log -xdev -name '*llm-tracker*' -not -path '/usr/src/*' \
                    -not -path '/usr/local/*' | sort";

/// What there is of a unit that is enabled.
const WANTED: &str = "/etc/systemd/system/multi-user.target.wants/llm-tracker.service";

#[test]
fn it_installs_upgrades_removes_and_purges() -> Result<()> {
    ensure!(machine::is_root(), "a package is installed by root");
    let machine = packed::pack("deb", Machine::with)?;

    let before = machine.run(LEFT)?;
    machine.run("dpkg --install /package/1.deb")?;
    machine.run(
        "llm-tracker --version && llm-tracker run --help && zcat /usr/share/man/man1/llm-tracker-run.1.gz",
    )?;
    machine
        .run("bash -c '. /usr/share/bash-completion/completions/llm-tracker && complete -p llm-tracker'")?;
    machine.run(
        "cd /usr/share/llm-tracker/prometheus && promtool check rules limits.yml rules.yml alerts.yml",
    )?;
    let started = machine
        .run("sed -n 's/^ExecStart=\\([^ ]*\\).*/\\1/p' /usr/lib/systemd/system/llm-tracker.service")?;
    machine.run(&format!("command -v {started}"))?;
    ensure!(machine.enabled()?, "the unit is not enabled");

    // What the administrator has decided stays; what he has not touched is as the new version has it.
    machine.run("echo '# ours' >> /etc/llm-tracker.toml")?;
    machine.run(&format!("rm {WANTED}"))?; // As `systemctl disable` does.
    machine.run("dpkg --install /package/2.deb")?;
    ensure!(
        machine.run("cat /etc/llm-tracker.toml")?.ends_with("# ours"),
        "the configuration is overwritten"
    );
    ensure!(machine.run("cat /etc/logrotate.d/llm-tracker")?.ends_with("# new"), "an old file is kept");
    ensure!(!machine.enabled()?, "the upgrade has enabled what was disabled");
    machine.run(&format!("ln -s /lib/systemd/system/llm-tracker.service {WANTED}"))?;
    machine.run("dpkg --install /package/2.deb")?;
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

#[test]
fn systemd_starts_restarts_and_stops_it() -> Result<()> {
    let Machine(overlay) = packed::pack("deb", Machine::with)?;
    let _exclusive = machine::Exclusive::take()?;
    let booted = Systemd::boot(&overlay)?;

    let ready =
        "curl --silent --fail --retry 60 --retry-delay 1 --retry-all-errors http://127.0.0.1:9435/readyz";
    let main = || -> Result<String> {
        Ok(booted
            .run("systemctl is-active --quiet llm-tracker && systemctl show --property MainPID llm-tracker")?
            .stdout)
    };
    booted.run("dpkg --install /package/1.deb")?;
    booted.run(ready)?;
    let first = main()?;
    booted.run("dpkg --install /package/2.deb")?;
    booted.run(ready)?;
    ensure!(main()? != first, "the old version is still running: {first}");
    let second = main()?;
    booted.run("systemctl reload llm-tracker")?;
    booted.run(ready)?;
    ensure!(main()? == second, "it does not live through a reload");
    booted.run("dpkg --remove llm-tracker && ! pgrep -x llm-tracker")?;
    booted.run("dpkg --purge llm-tracker && ! systemctl cat llm-tracker")?;
    booted.power_off()
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
        Ok(self.run(&format!("ls {WANTED} || true"))? == WANTED)
    }
}
