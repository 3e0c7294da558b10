//! Tools that are built with `cargo install` when they are not on the machine.

use std::path::PathBuf;
use std::process::Command;

use anyhow::bail;

use crate::context::Context;
use crate::process::{self, progress};

/// A program from crates.io.
pub(crate) struct Tool {
    /// The crate's name, which is also the program's.
    pub(crate) name: &'static str,
    /// The version to build.
    pub(crate) version: &'static str,
    /// What kind of build of it this is, where there can be several (`llvm-22`).
    pub(crate) variant: Option<String>,
}

impl Tool {
    /// Where [`Tool::build`] leaves the program. Version and variant are in the path, so that
    /// another one is built when they change.
    pub(crate) fn path(&self, context: &Context) -> PathBuf {
        self.root(context).join("bin").join(self.name)
    }

    /// The program, built now if it was not before. `configure` adds what is special about its
    /// build to the `cargo install` command.
    ///
    /// # Errors
    /// When it is missing and may not be built, or does not build; the message says what to type.
    pub(crate) fn build(
        &self,
        context: &Context,
        configure: impl FnOnce(&mut Command),
    ) -> anyhow::Result<PathBuf> {
        let path = self.path(context);
        if path.is_file() {
            return Ok(path);
        }
        let Self { name, version, .. } = self;
        if !context.install {
            bail!(
                "{name} is not on the PATH, and --no-install forbids to build it under {}: install it \
                 yourself (version {version}), or leave the flag out",
                context.relative(&context.tools()).display()
            );
        }
        let root = self.root(context);
        progress(
            "Building",
            format_args!("{name} {version}, once, into {}", context.relative(&root).display()),
        );
        let mut command = context.cargo();
        command.args(["install", name, "--version", version, "--locked", "--root"]).arg(root);
        configure(&mut command);
        process::run(name, &mut command)?;
        Ok(path)
    }

    fn root(&self, context: &Context) -> PathBuf {
        let Self { name, version, variant } = self;
        let folder = match variant {
            Some(variant) => format!("{name}-{version}-{variant}"),
            None => format!("{name}-{version}"),
        };
        context.tools().join(folder)
    }
}
