//! Who is who: forks, a client and its server on one host, containers, namespaces, late arrivals.

use std::{collections::BTreeSet, fs, thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use llm_tracker_tests::{
    child::Child,
    client::{self, LIMIT},
    compare::{all_exact, made_by},
    container::Bundle,
    daemon::Daemon,
    machine::Exclusive,
    proxy::Proxy,
    scenario::Scenario,
    standin::StandIn,
};
use serde_json::Value;

const CHAT: &str = "/v1/chat/completions";

/// The two processes of `fork.py`: both calls are seen, each with its own process.
fn forked(how: &str) -> Result<()> {
    let standin = StandIn::start()?;
    let mut daemon = Daemon::start()?;
    let model = Scenario::new(11, 22).tag("fork").model();
    let finished = client::run_python(&standin, "fork.py", &[how, &model])?;
    let said: Vec<Value> =
        finished.stdout.lines().map(serde_json::from_str).collect::<serde_json::Result<_>>()?;
    let [first, second] = said.as_slice() else { anyhow::bail!("{}", finished.stdout) };
    assert_eq!(first["ssl"], second["ssl"], "the pointers are not equal");
    assert_ne!(first["pid"], second["pid"]);
    for process in [first, second] {
        let pid = u32::try_from(process["pid"].as_u64().context("no pid")?)?;
        let call = daemon.wait_for_one(pid)?;
        all_exact(std::slice::from_ref(&call), &standin)?;
        made_by(&call, "python3", "/usr/bin/python3")?;
        let who = process["who"].as_str().context("no name")?;
        assert_eq!(call.model, Some(format!("{model}{who}")));
    }
    daemon.stop()?;
    Ok(())
}

#[test]
fn two_processes_with_equal_ssl_pointers() -> Result<()> {
    forked("equal")
}

#[test]
fn a_connection_that_a_child_inherits() -> Result<()> {
    forked("shared")
}

#[test]
fn a_client_and_its_server_are_counted_once_on_the_client_side() -> Result<()> {
    let standin = StandIn::start()?;
    let mut daemon = Daemon::start()?;
    let proxy = Proxy::start(&standin)?;
    let model = Scenario::new(123, 45).cached(40).tag("proxied").model();
    let mut curl = client::command(&standin, "/usr/bin/curl");
    let url = format!("{}{CHAT}", proxy.url());
    curl.args(client::curl_arguments(&url, &client::chat_stream(&model)));
    let finished = Child::spawn(curl, LIMIT)?.wait()?.success()?;

    let client = daemon.wait_for_one(finished.pid)?;
    let server = daemon.wait_for_one(proxy.pid())?;
    for (call, role) in [(&client, "client"), (&server, "server")] {
        all_exact(std::slice::from_ref(call), &standin)?;
        assert_eq!(call.role, role);
    }
    assert_eq!(server.process.name.as_deref(), Some("nginx"));

    let metrics = daemon.metrics()?;
    let labels = [("gen_ai_request_model", model.as_str())];
    let input = metrics.sum("llm_tokens_total", &[labels[0], ("type", "input")]);
    assert_eq!(input, 123.0, "{}", metrics.text);
    assert_eq!(metrics.sum("llm_calls_total", &labels), 1.0, "{}", metrics.text);
    let operations = metrics.sum("gen_ai_client_operation_duration_seconds_count", &labels);
    assert_eq!(operations, 1.0, "{}", metrics.text);
    daemon.stop()?;
    Ok(())
}

#[test]
fn a_container_is_named_by_its_id() -> Result<()> {
    let standin = StandIn::start()?;
    let mut daemon = Daemon::start()?;
    let model = Scenario::new(123, 45).tag("contained").model();
    let url = format!("{}{CHAT}", standin.url());
    let id = format!("e2e-{}-{}", std::process::id(), standin.address().port());
    // The first call gives the daemon a moment with a libssl that it has never seen: what matters here
    // is whose call the second is.
    let first = Scenario { wait: Some(500), ..Scenario::new(1, 2) }.model();
    let mut arguments = client::curl_arguments(&url, &client::chat(&first));
    arguments.push("--next".to_owned());
    arguments.extend(client::curl_arguments(&url, &client::chat(&model)));
    let container = Bundle::new(&id, &standin, &arguments)?;
    container.run()?.wait()?.success()?;

    let call = daemon.wait_for(1, |call| call.model.as_ref() == Some(&model))?.pop().context("no call")?;
    all_exact(std::slice::from_ref(&call), &standin)?;
    let found = call.container.as_ref().context("no container")?;
    assert_eq!(found.id, id);
    assert_eq!(found.runtime.as_deref(), Some("crun"));
    assert!(call.cgroup.as_ref().is_some_and(|cgroup| cgroup.contains(&id)), "{:?}", call.cgroup);
    assert_eq!(call.process.name.as_deref(), Some("curl"));
    assert_eq!(call.process.exe.as_deref(), Some("/usr/bin/curl"));
    assert!(call.process.pid > 1, "the id in the host's namespace: {}", call.process.pid);

    let metrics = daemon.metrics()?;
    let labels = [("gen_ai_request_model", model.as_str()), ("type", "output")];
    let sample = metrics.select("llm_tokens_total", &labels).next().context("no tokens")?;
    assert_eq!(sample.value, 45.0);
    assert_eq!(sample.labels["container"], id);
    daemon.stop()?;
    Ok(())
}

/// One-shot programs that each bring a libssl of their own. Its hooks race with their first call: at
/// the distance of a provider there is time for them, unless those of the last one are being removed
/// just then. So most of them have to be seen, and what is seen has to be right.
#[test]
fn one_shot_programs_with_a_library_never_seen_before() -> Result<()> {
    let standin = StandIn::start_at(Duration::from_millis(250))?;
    let mut daemon = Daemon::start()?;
    let url = format!("{}{CHAT}", standin.url());
    let mut models = Vec::new();
    for number in 0..5 {
        let model = Scenario::new(1, 2).tag(number).model();
        let arguments = client::curl_arguments(&url, &client::chat(&model));
        // Each container has a copy of libssl that was never seen before.
        let id = format!("e2e-first-{}-{number}", standin.address().port());
        Bundle::new(&id, &standin, &arguments)?.run()?.wait()?.success()?;
        models.push(model);
    }
    let curl = client::run_curl(&standin, CHAT, &client::chat(&Scenario::new(3, 4).model()))?;
    daemon.wait_for_one(curl.pid)?;
    let seen = daemon.calls(|call| call.model.as_ref().is_some_and(|model| models.contains(model)))?;
    all_exact(&seen, &standin)?;
    assert!(seen.len() * 2 > models.len(), "{} of {} first calls were seen", seen.len(), models.len());
    daemon.stop()?;
    Ok(())
}

#[test]
fn a_provider_is_known_by_its_host_name() -> Result<()> {
    let standin = StandIn::start()?;
    let mut daemon = Daemon::start()?;
    let model = Scenario::new(123, 45).model();
    let gemini = format!("/v1beta/models/{model}:generateContent");
    for (host, path, body, provider) in [
        ("api.openai.com", CHAT, client::chat(&model), "openai"),
        ("api.anthropic.com", "/v1/messages", client::messages(&model, true), "anthropic"),
        ("generativelanguage.googleapis.com", &gemini, client::generate(), "gcp.gemini"),
        (
            "standin.openai.azure.com",
            &format!("/openai/deployments/{model}/chat/completions"),
            client::chat(&model),
            "azure.ai.openai",
        ),
    ] {
        let curl = client::curl_by_real_name(&standin, host, path, &body);
        let finished = Child::spawn(curl, LIMIT)?.wait()?.success()?;
        let call = daemon.wait_for_one(finished.pid)?;
        all_exact(std::slice::from_ref(&call), &standin)?;
        assert_eq!(call.provider, provider);
        assert_eq!((call.server_address.as_deref(), call.server_port), (Some(host), None));
    }
    daemon.stop()?;
    Ok(())
}

#[test]
fn an_sdk_in_a_mount_namespace_of_its_own() -> Result<()> {
    let standin = StandIn::start()?;
    let mut daemon = Daemon::start()?;
    let model = Scenario::new(123, 45).model();
    for (script, operation, provider) in [
        ("openai_sdk.py", "chat-stream", "openai"),
        ("anthropic_sdk.py", "messages", "anthropic"),
        ("gemini_sdk.py", "generate-stream", "gcp.gemini"),
    ] {
        let command = client::python_by_real_names(&standin, script, &[operation, &model])?;
        let finished = Child::spawn(command, LIMIT)?.wait()?.success()?;
        let call = daemon.wait_for_one(finished.pid)?;
        all_exact(std::slice::from_ref(&call), &standin)?;
        made_by(&call, "python3", "/usr/bin/python3")?;
        assert_eq!(call.provider, provider);
        assert_eq!(call.server_port, Some(standin.address().port()));
    }
    daemon.stop()?;
    Ok(())
}

#[test]
fn a_process_that_was_there_before_the_daemon() -> Result<()> {
    let standin = StandIn::start()?;
    let machine = Exclusive::take()?;
    let model = Scenario { wait: Some(50), ..Scenario::new(17, 23) }.tag("n").model();
    let client = Child::spawn(client::python(&standin, "reuse.py", &["200", &model])?, LIMIT)?;
    while standin.served().len() < 5 {
        thread::sleep(Duration::from_millis(20));
    }
    let daemon = Daemon::start_alone(machine, "", "info")?;
    let at_ready = standin.served().len();
    ensure!(at_ready < 190, "the client was done before the daemon was ready");
    let pid = client.wait()?.success()?.pid;
    thread::sleep(Duration::from_secs(2));
    let calls = daemon.stop()?.calls(|call| call.process.pid == pid)?;
    all_exact(&calls, &standin)?;
    // From the first whole request after it was ready on, not one is missing.
    let seen: BTreeSet<_> = calls.iter().filter_map(|call| call.response_id.clone()).collect();
    let missed: Vec<_> =
        standin.served().into_iter().skip(at_ready + 1).filter(|served| !seen.contains(&served.id)).collect();
    assert!(missed.is_empty(), "{missed:#?}");
    assert!(calls.len() < 200, "it cannot have seen what was before it");
    Ok(())
}

/// A copy of libssl that nobody else uses, deleted while it is in use.
#[test]
fn a_library_at_any_path_deleted_or_not() -> Result<()> {
    let standin = StandIn::start()?;
    let folder = tempfile::Builder::new().prefix("llm-tracker-libssl-").tempdir()?;
    let copy = folder.path().join("libssl.so.3");
    fs::copy("/usr/lib/x86_64-linux-gnu/libssl.so.3", &copy)?;
    let machine = Exclusive::take()?;
    let model = Scenario { wait: Some(50), ..Scenario::new(17, 23) }.tag("n").model();
    let mut command = client::python(&standin, "reuse.py", &["200", &model])?;
    command.env("LD_LIBRARY_PATH", folder.path());
    let client = Child::spawn(command, LIMIT)?;
    while standin.served().is_empty() {
        thread::sleep(Duration::from_millis(20));
    }
    let maps = fs::read_to_string(format!("/proc/{}/maps", client.pid()))?;
    ensure!(maps.contains(copy.to_str().context("not UTF-8")?), "the copy is not in use: {maps}");
    fs::remove_file(&copy)?;
    let daemon = Daemon::start_alone(machine, "", "info")?;
    let at_ready = standin.served().len();
    let pid = client.wait()?.success()?.pid;
    thread::sleep(Duration::from_secs(2));
    let calls = daemon.stop()?.calls(|call| call.process.pid == pid)?;
    all_exact(&calls, &standin)?;
    assert!(calls.len() >= 200 - at_ready - 1, "{} calls after the {at_ready}th", calls.len());
    Ok(())
}
