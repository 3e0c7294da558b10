//! Real clients, unmodified, pointed at the stand-in by the environment that their users set.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::{
    child::{Child, Finished},
    machine,
    standin::StandIn,
};

/// Longest that any client may take, unless a test says otherwise.
pub const LIMIT: Duration = Duration::from_secs(60);

/// The made-up key that every client sends.
pub const KEY: &str = "sk-key-marker-2d8e4b";

/// The prompt that every client sends.
pub const PROMPT: &str = "prompt-marker-7a61fe";

/// Where each SDK is told which server to ask: the variable, the server's real name, and the path
/// that belongs to it.
const SERVERS: [(&str, &str, &str); 9] = [
    ("OPENAI_BASE_URL", "api.openai.com", "/v1"),
    ("AZURE_OPENAI_ENDPOINT", "standin.openai.azure.com", ""),
    ("ANTHROPIC_BASE_URL", "api.anthropic.com", ""),
    ("GOOGLE_GEMINI_BASE_URL", "generativelanguage.googleapis.com", ""),
    ("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", "bedrock-runtime.us-east-1.amazonaws.com", ""),
    ("CO_API_URL", "api.cohere.com", ""),
    // Its SDK has no variable of its own.
    ("MISTRAL_SERVER_URL", "api.mistral.ai", ""),
    ("GROQ_BASE_URL", "api.groq.com", ""),
    ("OLLAMA_HOST", "ollama.com", ""),
];

/// A chat request's body.
#[must_use]
pub fn chat(model: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": PROMPT}]})
}

/// The same, answered as a stream, with a usage at its end.
#[must_use]
pub fn chat_stream(model: &str) -> Value {
    let mut body = chat(model);
    body["stream"] = json!(true);
    body["stream_options"] = json!({"include_usage": true});
    body
}

/// An Anthropic request's body.
#[must_use]
pub fn messages(model: &str, stream: bool) -> Value {
    json!({
        "model": model, "max_tokens": 64, "stream": stream,
        "messages": [{"role": "user", "content": PROMPT}],
    })
}

/// A Gemini request's body.
#[must_use]
pub fn generate() -> Value {
    json!({"contents": [{"role": "user", "parts": [{"text": PROMPT}]}]})
}

/// `program` with nothing in its environment but what a client needs to find the stand-in, to trust
/// it and to have a key.
#[must_use]
pub fn command(standin: &StandIn, program: impl AsRef<OsStr>) -> Command {
    let url = standin.url();
    let authority = standin.identity().authority();
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LANG", "C.UTF-8")
        .env("HOME", "/nonexistent")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("PYTHONPATH", machine::crate_folder().join("clients"))
        .env("STANDIN_URL", &url)
        .env("STANDIN_PROMPT", PROMPT)
        .env("OPENAI_API_VERSION", "2024-10-21")
        .env("AWS_REGION", "us-east-1")
        .env("AWS_DEFAULT_REGION", "us-east-1")
        .env("AWS_EC2_METADATA_DISABLED", "true");
    for (variable, _, path) in SERVERS {
        command.env(variable, format!("{url}{path}"));
    }
    for variable in [
        "OPENAI_API_KEY",
        "AZURE_OPENAI_API_KEY",
        "ANTHROPIC_API_KEY",
        "GEMINI_API_KEY",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "CO_API_KEY",
        "MISTRAL_API_KEY",
        "GROQ_API_KEY",
        "OLLAMA_API_KEY",
    ] {
        command.env(variable, KEY);
    }
    for variable in
        ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "AWS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"]
    {
        command.env(variable, &authority);
    }
    command
}

/// `curl` that posts `body` to `path`.
#[must_use]
pub fn curl(standin: &StandIn, path: &str, body: &Value) -> Command {
    let mut command = command(standin, "/usr/bin/curl");
    command.args(curl_arguments(&format!("{}{path}", standin.url()), body));
    command
}

/// `curl` that posts to `https://HOST/PATH`, a provider's real name, and is led to the stand-in.
#[must_use]
pub fn curl_by_real_name(standin: &StandIn, host: &str, path: &str, body: &Value) -> Command {
    let mut command = command(standin, "/usr/bin/curl");
    command.args(["--connect-to", &format!("{host}:443:{}", standin.address())]);
    command.args(curl_arguments(&format!("https://{host}{path}"), body));
    command
}

/// What `curl` is told, for those who start it in their own way.
#[must_use]
pub fn curl_arguments(url: &str, body: &Value) -> Vec<String> {
    [
        "--silent",
        "--show-error",
        "--no-buffer",
        "--http1.1",
        "--max-time",
        "60",
        "--header",
        "content-type: application/json",
        "--header",
        &format!("authorization: Bearer {KEY}"),
        "--data",
        &body.to_string(),
        url,
    ]
    .map(String::from)
    .to_vec()
}

/// One `curl`, from its start to its end.
///
/// # Errors
///
/// Where it fails.
pub fn run_curl(standin: &StandIn, path: &str, body: &Value) -> Result<Finished> {
    Child::spawn(curl(standin, path, body), LIMIT)?.wait()?.success()
}

/// One `wget`, which is linked with GnuTLS, from its start to its end.
///
/// # Errors
///
/// Where it fails.
pub fn run_wget(standin: &StandIn, path: &str, body: &Value) -> Result<Finished> {
    let mut command = command(standin, "/usr/bin/wget");
    command.args(["--quiet", "--output-document=-", "--tries=1", "--timeout=60"]);
    command.arg("--no-config");
    command.arg(format!("--ca-certificate={}", standin.identity().authority().display()));
    command.args(["--header", "content-type: application/json"]);
    command.arg(format!("--header=authorization: Bearer {KEY}"));
    command.arg(format!("--post-data={body}"));
    command.arg(format!("{}{path}", standin.url()));
    Child::spawn(command, LIMIT)?.wait()?.success()
}

/// A program with all of libssl inside and without symbols, made in `folder`: `clients/linked.c`.
///
/// # Errors
///
/// Where there is no C compiler, or no libssl to link with.
pub fn linked(folder: &Path) -> Result<PathBuf> {
    compiled("linked", &["-static", "-s"], folder)
}

/// A program whose one thread writes while another reads, made in `folder`: `clients/two_threads.c`.
///
/// # Errors
///
/// Where there is no C compiler, or no libssl to link with.
pub fn two_threads(folder: &Path) -> Result<PathBuf> {
    compiled("two_threads", &["-pthread"], folder)
}

/// A client in C.
fn compiled(name: &str, flags: &[&str], folder: &Path) -> Result<PathBuf> {
    let program = folder.join(name);
    let mut command = Command::new("gcc");
    command.args(["-O2", "-w", "-o"]).arg(&program).args(flags).arg(script_path(&format!("{name}.c")));
    command.args(["-lssl", "-lcrypto"]);
    Child::spawn(command, LIMIT)?.wait()?.success()?;
    Ok(program)
}

/// Such a program, which is waiting for `SIGUSR1` to send its requests: to read the answers or to leave in
/// their midst, and the bodies.
///
/// # Errors
///
/// Where it cannot be started.
pub fn run_linked(
    standin: &StandIn,
    program: &Path,
    path: &str,
    requests: &[(&str, Value)],
) -> Result<Child> {
    let mut command = command(standin, program);
    command.arg(standin.address().port().to_string()).arg(standin.identity().authority()).arg(path);
    for (manner, body) in requests {
        command.arg(manner).arg(body.to_string());
    }
    Child::spawn(command, LIMIT)
}

/// `openssl s_client` with a raw request on its standard input: another libssl program than curl.
///
/// # Errors
///
/// Where it cannot be started.
pub fn openssl(standin: &StandIn, path: &str, body: &Value) -> Result<Child> {
    let address = standin.address().to_string();
    let mut command = command(standin, "/usr/bin/openssl");
    command.args(["s_client", "-quiet", "-verify_return_error", "-connect", &address, "-CAfile"]);
    command.arg(standin.identity().authority());
    let body = body.to_string();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {KEY}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    Child::spawn_with_input(command, request.as_bytes(), LIMIT)
}

/// A script of `clients/`, under the Python environment with the SDKs.
///
/// # Errors
///
/// Where the environment cannot be made.
pub fn python(standin: &StandIn, script: &str, arguments: &[&str]) -> Result<Command> {
    let mut command = command(standin, machine::python()?);
    command.arg(script_path(script)).args(arguments);
    Ok(command)
}

/// A script of `clients/`, under Node with the SDKs.
///
/// # Errors
///
/// Where they cannot be installed.
pub fn node(standin: &StandIn, script: &str, arguments: &[&str]) -> Result<Command> {
    let mut command = command(standin, machine::node()?);
    command.env("NODE_PATH", machine::node_modules()?).arg(script_path(script)).args(arguments);
    Ok(command)
}

/// A process that has what `client` uses mapped, as there is on a host where it is at home: the daemon knows
/// it before the first call. `client` is given `code` to run, which has to say that it is ready and stay.
///
/// # Errors
///
/// Where it does not start.
pub fn resident(client: &Command, code: [&str; 2]) -> Result<Child> {
    let mut command = Command::new(client.get_program());
    command.envs(client.get_envs().filter_map(|(name, value)| Some((name, value?)))).args(code);
    let mut child = Child::spawn(command, 10 * LIMIT)?;
    let deadline = Instant::now() + LIMIT;
    while child.stdout()?.is_empty() {
        ensure!(child.is_running()? && Instant::now() < deadline, "no resident: {}", child.stderr()?);
        thread::sleep(Duration::from_millis(10));
    }
    Ok(child)
}

/// For [`resident`]: Node.
pub const NODE_STAYS: [&str; 2] = ["-e", "console.log('ready'); setTimeout(() => {}, 600000)"];

/// For [`resident`]: Python with `curl_cffi`.
pub const CURL_CFFI_STAYS: [&str; 2] =
    ["-c", "import curl_cffi, time\nprint('ready', flush=True)\ntime.sleep(600)"];

/// For [`resident`]: Python with `pycurl`.
pub const PYCURL_STAYS: [&str; 2] =
    ["-c", "import pycurl, time\nprint('ready', flush=True)\ntime.sleep(600)"];

/// For [`resident`]: Python with `pyOpenSSL`.
pub const PYOPENSSL_STAYS: [&str; 2] =
    ["-c", "import OpenSSL.SSL, time\nprint('ready', flush=True)\ntime.sleep(600)"];

/// For [`resident`]: Python with `grpcio`.
pub const GRPCIO_STAYS: [&str; 2] = ["-c", "import grpc, time\nprint('ready', flush=True)\ntime.sleep(600)"];

/// A script under Python and under the providers' real names.
///
/// # Errors
///
/// Where the environment cannot be made.
pub fn python_by_real_names(standin: &StandIn, script: &str, arguments: &[&str]) -> Result<Command> {
    Ok(by_real_names(standin, &python(standin, script, arguments)?))
}

/// A client under the providers' real names, which are loopback in a mount namespace of its own: what
/// the client believes, and what the daemon sees, is that it talks to the provider.
#[must_use]
pub fn by_real_names(standin: &StandIn, client: &Command) -> Command {
    let port = standin.address().port();
    let mut command = command(standin, "/usr/bin/unshare");
    for (variable, host, path) in SERVERS {
        command.env(variable, format!("https://{host}:{port}{path}"));
    }
    command
        .args(["--mount", "/bin/sh", "-ec", "mount --bind \"$1\" /etc/hosts; shift; exec \"$@\"", "sh"])
        .arg(standin.identity().hosts())
        .arg(client.get_program())
        .args(client.get_args());
    command
}

/// One such script, from its start to its end.
///
/// # Errors
///
/// Where it fails.
pub fn run_python(standin: &StandIn, script: &str, arguments: &[&str]) -> Result<Finished> {
    Child::spawn(python(standin, script, arguments)?, LIMIT)?.wait()?.success()
}

/// Where a script lies.
#[must_use]
pub fn script_path(script: &str) -> PathBuf {
    Path::new(machine::crate_folder()).join("clients").join(script)
}
