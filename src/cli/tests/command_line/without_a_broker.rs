//! What needs no broker: help, usage errors, unreachable clusters.

use std::net::TcpListener;

use serde_json::Value;

use crate::broker::run;

/// An address that nothing listens on.
fn nowhere() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("bound").to_string()
}

#[test]
fn help_and_version_succeed_on_standard_output() {
    for line in ["--help", "-h", "--version", "help_topic", "topic --help", "consume --help", "group reset-offsets -h"]
    {
        let ended = run("127.0.0.1:1", &line.replace('_', " "), "");
        assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{line}");
        assert!(!ended.stdout.is_empty(), "{line}");
    }
    assert!(run("127.0.0.1:1", "--help", "").ok().contains("Exit codes:"));
}

#[test]
fn completions_are_printed_for_each_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run("127.0.0.1:1", &format!("completions {shell}"), "").ok();
        assert!(script.contains("coretide") && script.contains("reset-offsets"), "{shell}");
    }
}

#[test]
fn wrong_usage_is_code_2() {
    let at = nowhere();
    for line in [
        "topic",
        "topic create",
        "topics list",
        "consume t --from somewhere",
        "produce t --acks 2",
        "produce t --file /nonexistent/file",
        "consume t --since yesterday",
        "config describe broker first",
        "serve --shards many",
    ] {
        let words = run(&at, line, "").failed(2);
        assert!(!words.trim().is_empty(), "{line}");
    }
    let words = run("not-an-address", "topic list", "").failed(2);
    assert!(words.contains("HOST:PORT"), "{words}");
}

#[test]
fn a_closed_pipe_is_no_error() {
    // Clap's help into a pipe that nobody reads ends quietly too.
    let ended = run("127.0.0.1:1", "completions bash", "");
    assert_eq!(ended.code, 0);
}

#[test]
fn an_unreachable_cluster_is_code_3_and_says_what_to_do() {
    let at = nowhere();
    for line in ["topic list", "produce t --value x", "consume t", "group list", "config describe topic t"] {
        let words = run(&at, line, "").failed(3);
        assert!(words.contains(&at) && words.contains("connection refused"), "{words}");
        assert!(words.contains("is the broker running there?") && words.contains("--bootstrap"), "{words}");
    }
}

#[test]
fn errors_are_json_where_that_was_asked_for() {
    let error: Value = serde_json::from_str(&run(&nowhere(), "topic list --json", "").failed(3)).expect("JSON");
    assert_eq!(error["exit_code"], 3);
    assert!(error["error"].as_str().is_some_and(|words| words.contains("could not connect")), "{error}");
}

#[test]
fn something_that_is_no_broker_is_recognised() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let at = listener.local_addr().expect("bound").to_string();
    let server = std::thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut stream, _) = listener.accept().expect("a connection");
        let _ = stream.read(&mut [0; 1024]);
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    });
    let words = run(&at, "topic list", "").failed(1);
    assert!(words.contains("is this the port of a Kafka listener?"), "{words}");
    server.join().expect("the server does not panic");
}
