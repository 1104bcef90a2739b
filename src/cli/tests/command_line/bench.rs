//! `coretide bench` against a real broker: short runs, whole results, clean topics. On a busy machine a run may call itself
//! INVALID (exit code 7) for being late; for losing records, never.

use serde_json::Value;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::broker::{Broker, Ended, run};

/// A second of load in all.
const SHORT: &str = "--secs 0.7 --warmup-secs 0.2 --json";
/// What no machine may excuse.
const FAULTS: [&str; 6] = ["failed", "did not arrive", "still waited", "no record", "signal", "process ended"];

/// The result of a command that may be late but must not lose anything.
fn measured(ended: Ended) -> Value {
    assert!(ended.code == 0 || ended.code == 7, "{ended:?}");
    let result: Value = serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:?}"));
    assert_eq!(result["format"], 1);
    for fault in FAULTS {
        assert!(!ended.stderr.contains(fault) || ended.code == 0, "{fault}: {}", ended.stderr);
    }
    result
}

fn no_topics_left(broker: &Broker) {
    let topics = broker.run("topic list --json").ok();
    assert!(!topics.contains("coretide-bench-"), "{topics}");
}

#[test]
fn produce_measures_at_a_rate_and_at_full_speed() {
    let data = tempfile::tempdir().expect("a folder");
    let broker = Broker::start(data.path());
    let flags = "--partitions 3 --producers 2 --record-bytes 100-300 --compression lz4 --keys zipf --payload json";
    let result = measured(broker.run(&format!("bench produce --rate 2000 {flags} {SHORT}")));
    let run = &result["measured"];
    assert_eq!((&run["kind"], &result["complete"]), (&"run".into(), &true.into()));
    let produced = &run["produced"];
    assert!(produced["records"].as_u64() > Some(100), "{produced}");
    // What was due in the window was acknowledged, late or not: nothing of a latency is left out.
    assert!((1_380..=1_420).contains(&produced["latency"]["count"].as_u64().unwrap()), "{}", produced["latency"]);
    assert_eq!(produced["errors"], 0);
    assert_eq!(result["brokers"][0]["durability"], "fsync before ack");
    assert!(result["brokers"][0]["config"]["topic.flush.messages"] == "1", "{}", result["brokers"][0]["config"]);
    if broker.is_ours() {
        assert_eq!(result["brokers"][0]["name"], "coretide");
        assert!(run["broker_use"]["rss_bytes"].as_u64() > Some(1 << 20), "{}", run["broker_use"]);
    }
    let full = measured(broker.run(&format!("bench produce --acks 1 --record-bytes 100 --topics 2 {SHORT}")));
    assert!(full["measured"]["produced"]["records_per_batch"].as_f64() > Some(10.0), "{full}");
    let blind = measured(broker.run(&format!("bench produce --acks 0 --rate 500 {SHORT}")));
    assert_eq!(blind["measured"]["produced"]["requests"], 0, "no request was answered");
    no_topics_left(&broker);
}

#[test]
fn records_travel_end_to_end_and_backlogs_are_read() {
    let data = tempfile::tempdir().expect("a folder");
    let broker = Broker::start(data.path());
    let flags = "--partitions 4 --consumers 2 --groups 2 --record-bytes 64 --compression zstd";
    let result = measured(broker.run(&format!("bench e2e --rate 1000 {flags} {SHORT}")));
    let (produced, consumed) = (&result["measured"]["produced"], &result["measured"]["consumed"]);
    let counts = (produced["latency"]["count"].as_u64(), consumed["latency"]["count"].as_u64());
    assert_eq!(counts.1, counts.0.map(|count| 2 * count), "each of two groups got each record");
    assert!(consumed["latency"]["p50_us"].as_f64() > Some(0.0));
    let flags = "--backlog-mb 3 --partitions 2 --no-fetch-sessions";
    let result = measured(broker.run(&format!("bench consume {flags} {SHORT}")));
    assert!(result["measured"]["consumed"]["bytes"].as_u64() > Some(3_000_000), "it began again at the end");
    assert_eq!(result["measured"]["produced"], Value::Null);
    no_topics_left(&broker);
}

#[test]
fn scenarios_run_from_files_and_by_name() {
    let data = tempfile::tempdir().expect("a folder");
    let broker = Broker::start(data.path());
    assert!(broker.run("bench run --list").ok().contains("catch-up"));
    let text = broker.run("bench run --print fan-out").ok();
    let file = data.path().join("mine.toml");
    std::fs::write(&file, text.replace("10000", "300")).expect("a file");
    let out = data.path().join("result.json");
    let line = format!("bench run {} --out {} {SHORT}", file.display(), out.display());
    let result = measured(broker.run(&line));
    assert_eq!(result["measured"]["scenario"]["name"], "fan-out");
    let kept: Value = serde_json::from_str(&std::fs::read_to_string(&out).expect("it was kept")).expect("JSON");
    assert_eq!(kept, result);
    std::fs::write(&file, "name = \"x\"\n[producers.client]\n\"compression.type\" = \"zip\"\n").expect("a file");
    let words = broker.run(&format!("bench run {}", file.display())).failed(2);
    assert!(words.contains("line 3") && words.contains("`gzip`, `snappy`"), "{words}");
    no_topics_left(&broker);
}

#[test]
fn comparisons_need_equal_durability_and_have_intervals() {
    let folders = [tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder")];
    let [broker, other] = [Broker::start(folders[0].path()), Broker::start(folders[1].path())];
    let load = "--rate 1000 --record-bytes 100 --secs 0.2 --warmup-secs 0.1";
    let (a, b) = (&broker.bootstrap, &other.bootstrap);
    let result = measured(broker.run(&format!("bench compare one={a} two={b} {load} --json")));
    let comparison = &result["measured"];
    assert_eq!((&comparison["kind"], &comparison["unequal_durability"]), (&"compare".into(), &false.into()));
    assert_eq!(comparison["rounds"].as_array().map(Vec::len), Some(5));
    let ratio = &comparison["ratios"][0];
    let bound = |place: usize| ratio["interval"][place].as_f64().unwrap();
    assert!(bound(0) <= ratio["ratio"].as_f64().unwrap() && ratio["ratio"].as_f64().unwrap() <= bound(1), "{ratio}");
    assert_eq!(ratio["pairs"].as_array().map(Vec::len), Some(5));
    if broker.is_ours() {
        broker.run(&format!("config alter broker default --bootstrap {b} --set log.flush.interval.messages=1000")).ok();
        let words = broker.run(&format!("bench compare one={a} two={b} {load}")).failed(2);
        assert!(words.contains("page cache") && words.contains("--allow-unequal"), "{words}");
        let ended = broker.run(&format!("bench compare one={a} two={b} {load} --allow-unequal"));
        assert!(ended.stdout.contains("DURABILITY IS NOT EQUAL"), "{ended:?}");
    }
    no_topics_left(&broker);
}

#[test]
fn sweeps_recommend_and_knees_are_found() {
    let data = tempfile::tempdir().expect("a folder");
    let broker = Broker::start(data.path());
    let load = "--record-bytes 100 --secs 0.3 --warmup-secs 0.1 --json";
    let flags = "--rate 2000 --linger-ms 0,20 --batch-size 1000 --p99-below 60000";
    let result = measured(broker.run(&format!("bench sweep {flags} {load}")));
    let sweep = &result["measured"];
    assert_eq!((&sweep["kind"], sweep["cells"].as_array().map(Vec::len)), (&"sweep".into(), Some(2)));
    let records_per_batch = |place: usize| sweep["cells"][place]["run"]["produced"]["records_per_batch"].as_f64();
    assert!(records_per_batch(0) < records_per_batch(1), "records gather while they linger: {sweep}");
    assert_eq!(sweep["recommendations"][1]["aim"], "most throughput");
    let result = measured(broker.run(&format!("bench knee --p99-below 60000 --from 200 --to 400 --repeats 1 {load}")));
    let knee = &result["measured"];
    assert_eq!((&knee["kind"], knee["steps"].as_array().map(Vec::len) >= Some(1)), (&"knee".into(), true));
    no_topics_left(&broker);
}

#[test]
fn a_signal_ends_it_with_what_was_measured_and_without_topics() {
    let data = tempfile::tempdir().expect("a folder");
    let broker = Broker::start(data.path());
    let mut command = Command::new(env!("CARGO_BIN_EXE_coretide"));
    command.args(["bench", "produce", "--rate", "500", "--secs", "600", "--warmup-secs", "0", "--json", "--bootstrap"]);
    command.arg(&broker.bootstrap).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().expect("the binary starts");
    let topic_is_there = || broker.run("topic list --json").ok().contains("-topic-");
    while !topic_is_there() {
        std::thread::sleep(Duration::from_millis(50));
    }
    std::thread::sleep(Duration::from_millis(1_500));
    Command::new("kill").args(["-2", &child.id().to_string()]).status().expect("kill runs");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(6), "{}", String::from_utf8_lossy(&output.stderr));
    let result: Value = serde_json::from_slice(&output.stdout).expect("the result so far");
    assert_eq!((&result["complete"], &result["measured"]["validity"]["verdict"]), (&false.into(), &"INVALID".into()));
    assert!(result["measured"]["produced"]["records"].as_u64() > Some(0), "{result}");
    no_topics_left(&broker);
}

#[test]
fn a_broker_that_dies_in_the_middle_is_told() {
    let data = tempfile::tempdir().expect("a folder");
    let broker = Broker::start(data.path());
    if !broker.is_ours() {
        eprintln!("not run: a foreign cluster is not killed");
        return;
    }
    let bootstrap = broker.bootstrap.clone();
    let killer = std::thread::spawn(move || {
        while !broker.run("topic list --json").ok().contains("-topic-") {
            std::thread::sleep(Duration::from_millis(50));
        }
        std::thread::sleep(Duration::from_millis(800));
        broker.kill();
    });
    // Longer than anything is waited for here: it ends when the broker does.
    let ended = run(&bootstrap, "bench produce --rate 500 --secs 600 --warmup-secs 0 --json", "");
    killer.join().expect("the broker was killed");
    assert_eq!(ended.code, 7, "{ended:?}");
    let result: Value = serde_json::from_str(&ended.stdout).expect("what was measured is kept");
    let validity = result["measured"]["validity"].to_string();
    assert!(validity.contains("process ended") && !validity.contains("still waited"), "{validity}");
    assert!(result["measured"]["produced"]["latency"]["count"].as_u64() > Some(0), "{result}");
}

#[test]
fn what_cannot_be_measured_is_said_before() {
    let ended = run("127.0.0.1:1", "bench produce --secs 1", "");
    assert!(ended.failed(3).contains("connection refused"));
    let words = run("127.0.0.1:1", "bench produce --out /no/such/folder/r.json", "").failed(2);
    assert!(words.contains("/no/such/folder"), "{words}");
    assert!(run("127.0.0.1:1", "bench produce --linger 5", "").failed(2).contains("--linger-ms"));
}

#[test]
fn versus_takes_its_own_names_for_result_and_page_and_refuses_a_result_named_like_a_page() {
    let ended = run("127.0.0.1:1", "bench versus 127.0.0.1:1 --pairs 0", "");
    assert!(ended.code != 0 && ended.stderr.contains("--pairs"), "{ended:?}");
    let ended = run("127.0.0.1:1", "bench versus 127.0.0.1:1 --out x.html", "");
    assert!(ended.code != 0 && ended.stderr.contains("the result is JSON"), "{ended:?}");
}
