//! The agents: where each comes from, and how it is told to ask the stand-in.
//!
//! In every text `{…}` is filled in by [`Setting::fill`](crate::conversation::Setting::fill):
//!
//! | | |
//! |---|---|
//! | `{package}` | the folder of the agent's own package |
//! | `{modules}` | the folder with all packages of the release |
//! | `{home}` | its home, empty but for [`Agent::files`] |
//! | `{url}` | the stand-in, `https://localhost:PORT` |
//! | `{model}` | the model to ask for, which says what the stand-in is to answer |
//! | `{authority}` | the stand-in's certificate authority |
//! | `{bundle}` | the same beside those of the system |
//! | `{arch}`, `{machine}` | this processor as Node and as Rust call it |

/// A package of npm's registry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Package {
    /// As it is installed.
    pub(crate) name: &'static str,
    /// The package whose newest release counts.
    pub(crate) released_as: &'static str,
    /// The release that has to work.
    pub(crate) pinned: &'static str,
    /// What follows the release's number in the version of `name`.
    pub(crate) suffix: &'static str,
}

/// One agent, in one way of running it.
#[derive(Debug)]
pub(crate) struct Agent {
    /// As it is typed.
    pub(crate) name: &'static str,
    /// As it is printed.
    pub(crate) title: &'static str,
    /// The stack that carries its calls.
    pub(crate) stack: &'static str,
    pub(crate) package: Package,
    /// What else it takes, always as pinned.
    pub(crate) beside: Option<Package>,
    /// The program that makes the calls.
    pub(crate) program: &'static str,
    /// Its arguments.
    pub(crate) arguments: &'static [&'static str],
    pub(crate) environment: &'static [(&'static str, &'static str)],
    /// Below `{home}`.
    pub(crate) files: &'static [(&'static str, &'static str)],
    /// Whether it believes the system's authorities only, so that the stand-in's has to be among them.
    pub(crate) system_authorities: bool,
    /// Whether it offers the model a shell, which it has to be told to run unasked.
    pub(crate) has_shell: bool,
}

/// Whatever it says, the stand-in answers with a call of the agent's shell where there is one.
const PROMPT: &str = "say hello";

/// Codex, by HTTP over its OpenSSL; the other ways differ from it in what they say.
const CODEX: Agent = Agent {
    name: "codex",
    title: "Codex CLI",
    stack: "openssl",
    package: Package {
        name: "@openai/codex",
        released_as: "@openai/codex",
        pinned: "0.169.0",
        suffix: "-linux-{arch}",
    },
    beside: None,
    program: "{package}/vendor/{machine}-unknown-linux-musl/bin/codex",
    arguments: &["exec", "--skip-git-repo-check", PROMPT],
    environment: &[("STANDIN_KEY", "sk-made-up")],
    files: &[(
        ".codex/config.toml",
        r#"model = "{model}"
model_provider = "standin"
check_for_update_on_startup = false
sandbox_mode = "danger-full-access"
[analytics]
enabled = false
[model_providers.standin]
name = "standin"
base_url = "{url}/v1"
env_key = "STANDIN_KEY"
wire_api = "responses"
"#,
    )],
    system_authorities: true,
    has_shell: true,
};

/// With authorities of its own it takes another TLS library.
const CODEX_OWN_CA: &[(&str, &str)] =
    &[("STANDIN_KEY", "sk-made-up"), ("CODEX_CA_CERTIFICATE", "{authority}")];

const NODE: Package =
    Package { name: "node-linux-{arch}", released_as: "node-linux-{arch}", pinned: "24.9.0", suffix: "" };

/// All agents, in the order of the table.
pub(crate) const AGENTS: &[Agent] = &[
    Agent {
        name: "claude-code",
        title: "Claude Code",
        stack: "boringssl",
        package: Package {
            name: "@anthropic-ai/claude-code-linux-{arch}",
            released_as: "@anthropic-ai/claude-code",
            pinned: "2.1.330",
            suffix: "",
        },
        beside: None,
        program: "{package}/claude",
        arguments: &["-p", PROMPT, "--model", "{model}", "--allowedTools", "Bash"],
        environment: &[
            ("ANTHROPIC_BASE_URL", "{url}"),
            ("ANTHROPIC_API_KEY", "sk-ant-made-up"),
            ("NODE_EXTRA_CA_CERTS", "{authority}"),
            ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),
            ("DISABLE_TELEMETRY", "1"),
            ("DISABLE_AUTOUPDATER", "1"),
            ("ANTHROPIC_SMALL_FAST_MODEL", "standin-in7-out3"),
        ],
        files: &[],
        system_authorities: false,
        has_shell: true,
    },
    Agent {
        name: "opencode",
        title: "opencode",
        stack: "boringssl",
        package: Package {
            name: "opencode-linux-{arch}",
            released_as: "opencode-linux-{arch}",
            pinned: "1.18.33",
            suffix: "",
        },
        beside: None,
        program: "{package}/bin/opencode",
        arguments: &["run", "--model", "standin/{model}", PROMPT],
        environment: &[
            ("NODE_EXTRA_CA_CERTS", "{authority}"),
            ("OPENCODE_DISABLE_AUTOUPDATE", "1"),
            ("OPENCODE_DISABLE_MODELS_FETCH", "1"),
            ("OPENCODE_DISABLE_LSP_DOWNLOAD", "1"),
            ("OPENCODE_DISABLE_DEFAULT_PLUGINS", "1"),
        ],
        files: &[(
            ".config/opencode/opencode.json",
            r#"{ "$schema": "https://opencode.ai/config.json", "autoupdate": false, "share": "disabled",
  "provider": { "standin": { "npm": "@ai-sdk/openai-compatible", "name": "standin",
    "options": { "baseURL": "{url}/v1", "apiKey": "sk-made-up" },
    "models": { "{model}": { "name": "m" } } } },
  "model": "standin/{model}", "small_model": "standin/{model}" }
"#,
        )],
        system_authorities: false,
        has_shell: true,
    },
    Agent {
        name: "gemini-cli",
        title: "Gemini CLI",
        stack: "openssl",
        package: Package {
            name: "@google/gemini-cli",
            released_as: "@google/gemini-cli",
            pinned: "0.61.0",
            suffix: "",
        },
        beside: Some(NODE),
        program: "{modules}/node-linux-{arch}/bin/node",
        arguments: &[
            "{package}/bundle/gemini.js",
            "--model",
            "{model}",
            "--approval-mode",
            "yolo",
            "--prompt",
            PROMPT,
        ],
        environment: &[
            ("GOOGLE_GEMINI_BASE_URL", "{url}"),
            ("GEMINI_API_KEY", "made-up"),
            ("NODE_EXTRA_CA_CERTS", "{authority}"),
            ("GEMINI_CLI_TRUST_WORKSPACE", "true"),
        ],
        files: &[(
            ".gemini/settings.json",
            r#"{ "security": { "auth": { "selectedType": "gemini-api-key" } },
  "general": { "disableAutoUpdate": true, "disableUpdateNag": true },
  "privacy": { "usageStatisticsEnabled": false }, "telemetry": { "enabled": false } }
"#,
        )],
        system_authorities: false,
        has_shell: true,
    },
    Agent {
        name: "copilot-cli",
        title: "GitHub Copilot CLI",
        stack: "openssl",
        package: Package {
            name: "@github/copilot-linux-{arch}",
            released_as: "@github/copilot",
            pinned: "1.0.102",
            suffix: "",
        },
        beside: None,
        program: "{package}/copilot",
        arguments: &["-p", PROMPT, "--no-color", "--allow-all-tools"],
        environment: &[
            ("NODE_EXTRA_CA_CERTS", "{authority}"),
            ("SSL_CERT_FILE", "{bundle}"),
            ("COPILOT_PROVIDER_BASE_URL", "{url}/v1"),
            ("COPILOT_PROVIDER_TYPE", "openai"),
            ("COPILOT_PROVIDER_API_KEY", "sk-made-up"),
            ("COPILOT_MODEL", "{model}"),
            ("COPILOT_OFFLINE", "true"),
            ("COPILOT_AUTO_UPDATE", "false"),
        ],
        files: &[],
        system_authorities: true,
        has_shell: true,
    },
    CODEX,
    Agent {
        name: "codex-own-ca",
        title: "Codex CLI, CODEX_CA_CERTIFICATE set",
        stack: "rustls",
        environment: CODEX_OWN_CA,
        system_authorities: false,
        ..CODEX
    },
    Agent {
        name: "codex-websocket",
        title: "Codex CLI, WebSocket",
        stack: "rustls",
        arguments: &[
            "exec",
            "--skip-git-repo-check",
            "--config",
            "model_providers.standin.supports_websockets=true",
            PROMPT,
        ],
        environment: CODEX_OWN_CA,
        system_authorities: false,
        ..CODEX
    },
    Agent {
        name: "bun",
        title: "Bun",
        stack: "boringssl",
        package: Package { name: "@oven/bun-linux-{arch}", released_as: "bun", pinned: "1.4.5", suffix: "" },
        beside: None,
        program: "{package}/bin/bun",
        arguments: &["run", "{home}/chat.js"],
        environment: &[("NODE_EXTRA_CA_CERTS", "{authority}"), ("DO_NOT_TRACK", "1")],
        files: &[(
            "chat.js",
            r#"for (let n = 0; n < 3; n++) {
  const answer = await fetch("{url}/v1/chat/completions", {
    method: "POST", keepalive: n != 1,
    headers: { "content-type": "application/json", authorization: "Bearer sk-made-up" },
    body: JSON.stringify({ model: "{model}", stream: n != 0, stream_options: { include_usage: true },
                           messages: [{ role: "user", content: "say hello" }] }),
  });
  await answer.text();
  if (!answer.ok) process.exit(1);
}
"#,
        )],
        system_authorities: false,
        has_shell: false,
    },
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::AGENTS;

    #[test]
    fn names_are_unique() {
        let names: HashSet<_> = AGENTS.iter().map(|agent| agent.name).collect();
        assert_eq!(names.len(), AGENTS.len());
    }
}
