//! Every command against a running broker, and what survives its end.

use serde_json::{Value, json};

use crate::broker::{Broker, fresh};

fn lines(text: &str) -> Vec<&str> {
    text.lines().collect()
}

#[test]
fn topics_are_created_described_altered_and_deleted() {
    let data = tempfile::tempdir().expect("a folder");
    let broker = Broker::start(data.path());
    let topic = fresh("orders");
    let created = broker.run(&format!("topic create {topic} -p 3 -c retention.ms=100000 --json")).json();
    assert_eq!((&created["created"], &created["partitions"]), (&json!(true), &json!(3)));
    let words = broker.run(&format!("topic create {topic}")).failed(5);
    assert!(words.contains("TOPIC_ALREADY_EXISTS"), "{words}");
    broker.run(&format!("topic create {topic} --if-not-exists")).ok();
    let listed = broker.run("topic list --json").json();
    assert!(listed.as_array().expect("a list").iter().any(|one| one["name"] == *topic), "{listed}");
    let described = &broker.run(&format!("topic describe {topic} --json")).json()[0];
    assert_eq!(described["configs"], json!({"retention.ms": "100000"}));
    assert_eq!(described["partitions"].as_array().expect("a list").len(), 3);
    assert_eq!(described["partitions"][2]["end_offset"], 0);
    broker.run(&format!("topic alter {topic} --partitions 5 --set segment.bytes=2000000 --unset retention.ms")).ok();
    let described = &broker.run(&format!("topic describe {topic} --json")).json()[0];
    assert_eq!(described["configs"], json!({"segment.bytes": "2000000"}));
    assert_eq!(described["partitions"].as_array().expect("a list").len(), 5);
    broker.run(&format!("topic alter {topic} --partitions 2")).failed(2);
    let near = topic.replacen("orders", "odrers", 1);
    let words = broker.run(&format!("topic describe {near}")).failed(4);
    assert!(words.contains(&format!("did you mean '{topic}'?")), "{words}");
    broker.run(&format!("topic delete {topic}")).ok();
    broker.run(&format!("topic delete {topic}")).failed(4);
    broker.run(&format!("topic delete {topic} --if-exists")).ok();
}

#[test]
fn configs_are_described_and_altered() {
    let data = tempfile::tempdir().expect("a folder");
    let broker = Broker::start(data.path());
    let topic = fresh("configs");
    broker.run(&format!("topic create {topic}")).ok();
    broker.run(&format!("config alter topic {topic} --set retention.ms=5000 --append cleanup.policy=compact")).ok();
    let of = |key: &str| broker.run(&format!("config describe topic {topic} {key} --docs --json")).json()[0].clone();
    assert_eq!((&of("retention.ms")["value"], &of("retention.ms")["source"]), (&json!("5000"), &json!("topic")));
    assert_eq!(of("cleanup.policy")["value"], "delete,compact");
    assert!(of("retention.ms")["documentation"].as_str().is_some_and(|words| words.len() > 20));
    broker.run(&format!("config alter topic {topic} --unset retention.ms --subtract cleanup.policy=compact")).ok();
    assert_eq!(of("retention.ms")["value"], "604800000");
    let words = broker.run(&format!("config alter topic {topic} --set retention.mss=1")).failed(2);
    assert!(words.contains("did you mean 'retention.ms'?"), "{words}");
    broker.run(&format!("config alter topic {topic} --set retention.ms=soon")).failed(2);
    let words = broker.run(&format!("config describe topic {topic} retention.mss")).failed(4);
    assert!(words.contains("did you mean 'retention.ms'?"), "{words}");
    let all = broker.run("config describe broker 1 --all --json").json();
    assert!(all.as_array().expect("a list").len() > 100, "all of a broker's configs");
    broker.run(&format!("topic delete {topic}")).ok();
}

#[test]
fn records_go_through_every_codec_and_format() {
    let data = tempfile::tempdir().expect("a folder");
    let broker = Broker::start(data.path());
    let topic = fresh("records");
    let words = broker.feed(&format!("produce {topic}"), "x\n").failed(4);
    assert!(words.contains(&format!("coretide topic create {topic}")), "{words}");
    for (codec, acks) in [("none", "all"), ("gzip", "1"), ("snappy", "all"), ("lz4", "1"), ("zstd", "all")] {
        let line =
            format!("produce {topic} --create --key-separator : -c {codec} --acks {acks} -H codec={codec} --json");
        let sent = broker.feed(&line, "a:first\nb:second\nno key\n").json();
        assert_eq!(sent["records"], 3, "{codec}: {sent}");
    }
    let template = format!("consume {topic} --from beginning --end -f %o|%k|%v|%h");
    let printed = broker.run(&template).ok();
    assert_eq!(lines(&printed).len(), 15);
    assert_eq!(lines(&printed)[13..], ["13|b|second|codec=zstd", "14||no key|codec=zstd"]);
    let copy = fresh("copy");
    let json_lines = broker.run(&format!("consume {topic} --from beginning --end --json")).ok();
    broker.feed(&format!("produce {copy} --create --format json"), &json_lines).ok();
    let copied = broker.run(&format!("consume {copy} --from beginning --end --json")).ok();
    let same = |text: &str| -> Vec<Value> {
        lines(text)
            .into_iter()
            .map(|line| {
                let mut record: Value = serde_json::from_str(line).expect("JSON");
                record["topic"] = Value::Null;
                record
            })
            .collect()
    };
    assert_eq!(same(&copied), same(&json_lines));
    let odd = r#"{"key":null,"value":{"base64":"/wA="},"headers":[["h","1"],["h",null]],"timestamp":1700000000000}"#;
    broker.feed(&format!("produce {copy} --format json"), odd).ok();
    let last: Value =
        serde_json::from_str(&broker.run(&format!("consume {copy} --offset -1 --end --json")).ok()).expect("JSON");
    assert_eq!((&last["value"], &last["timestamp"]), (&json!({"base64": "/wA="}), &json!(1_700_000_000_000i64)));
    assert_eq!(last["headers"], json!([{"key": "h", "value": "1"}, {"key": "h", "value": null}]));
    let words = broker.feed(&format!("produce {copy} --format json"), "{\"vale\": 1}").failed(2);
    assert!(words.contains("line 1") && words.contains("'vale'"), "{words}");
}

#[test]
fn places_to_begin_and_to_end_are_kept() {
    let data = tempfile::tempdir().expect("a folder");
    let broker = Broker::start(data.path());
    let topic = fresh("places");
    let records: String = (0..100)
        .map(|n| format!("{{\"value\": \"{n}\", \"timestamp\": {}}}\n", 1_700_000_000_000i64 + n * 1000))
        .collect();
    broker.feed(&format!("produce {topic} --create --format json -c lz4 --partition 0"), &records).ok();
    let consume = |rest: &str| broker.run(&format!("consume {topic} {rest}"));
    assert_eq!(lines(&consume("--offset 97 --end").ok()), ["97", "98", "99"]);
    assert_eq!(lines(&consume("--offset -2 --end").ok()), ["98", "99"]);
    assert_eq!(lines(&consume("--since 1700000096500 --end").ok()), ["97", "98", "99"]);
    assert_eq!(lines(&consume("--since 2023-11-14T22:14:57Z --end").ok()), ["97", "98", "99"]);
    assert_eq!(lines(&consume("--from beginning -n 2").ok()), ["0", "1"]);
    assert_eq!(consume("--from end --end").ok(), "");
    let words = consume("--from beginning -n 101 --idle 1s").failed(6);
    assert!(words.contains("100 of 101"), "{words}");
    let words = consume("--from beginning --partition 7").failed(4);
    assert!(words.contains("no partition 7"), "{words}");
    let words = consume("--offset 1000 -n 1").failed(1);
    assert!(words.contains("OFFSET_OUT_OF_RANGE"), "{words}");
    let words = broker.run(&format!("produce {topic} --partition 7 --value x")).failed(2);
    assert!(words.contains("no partition 7"), "{words}");
}

#[test]
fn groups_commit_resume_are_reset_and_deleted() {
    let data = tempfile::tempdir().expect("a folder");
    let broker = Broker::start(data.path());
    let (topic, group) = (fresh("shared"), fresh("billing"));
    broker.run(&format!("topic create {topic} -p 2")).ok();
    let records: String = (0..20).map(|n| format!("k{n}:v{n}\n")).collect();
    broker.feed(&format!("produce {topic} --key-separator :"), &records).ok();
    let consume = |rest: &str| broker.run(&format!("consume {topic} -g {group} --from beginning {rest}")).ok();
    let first = consume("-n 5");
    let rest = consume("--end");
    let mut all: Vec<&str> = first.lines().chain(rest.lines()).collect();
    assert_eq!((first.lines().count(), all.len()), (5, 20), "nothing twice, nothing left out");
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 20);
    assert_eq!(consume("--end"), "");
    let described = broker.run(&format!("group describe {group} --json")).json();
    assert_eq!((&described["state"], &described["total_lag"]), (&json!("Empty"), &json!(0)));
    let listed = broker.run("group list --json").json();
    assert!(listed.as_array().expect("a list").iter().any(|one| one["group"] == *group), "{listed}");
    let reset = format!("group reset-offsets {group} --topic {topic}");
    let planned = broker.run(&format!("{reset} --to beginning --dry-run --json")).json();
    assert_eq!((&planned["committed"], &planned["partitions"][0]["offset"]), (&json!(false), &json!(0)));
    assert_eq!(consume("--end"), "");
    broker.run(&format!("{reset} --by -1")).ok();
    assert_eq!(consume("--end").lines().count(), 2);
    broker.run(&format!("group delete {group}")).ok();
    let words = broker.run(&format!("group describe {group}")).failed(4);
    assert!(words.contains(&group), "{words}");
}

#[test]
fn a_record_that_is_too_large_is_refused_and_the_next_is_not() {
    let data = tempfile::tempdir().expect("a folder");
    let broker = Broker::start(data.path());
    let topic = fresh("large");
    broker.run(&format!("topic create {topic} -c max.message.bytes=10000")).ok();
    let words = broker.feed(&format!("produce {topic}"), &"x".repeat(20_000)).failed(1);
    assert!(words.contains("MESSAGE_TOO_LARGE") && words.contains("max.message.bytes"), "{words}");
    broker.feed(&format!("produce {topic}"), &"y".repeat(5000)).ok();
    assert_eq!(broker.run(&format!("consume {topic} --from beginning --end")).ok().trim(), "y".repeat(5000));
}

#[test]
fn what_was_acknowledged_is_there_after_kill_and_after_stop() {
    let data = tempfile::tempdir().expect("a folder");
    let mut broker = Broker::start(data.path());
    if !broker.is_ours() {
        return;
    }
    let (topic, group) = (fresh("kept"), fresh("group"));
    broker.run(&format!("topic create {topic} -p 3 -c retention.ms=-1")).ok();
    let mut expected = Vec::new();
    for round in 0..3 {
        let records: String = (0..500).map(|n| format!("k{n}:round {round} record {n}\n")).collect();
        broker.feed(&format!("produce {topic} --key-separator : -c zstd"), &records).ok();
        expected.extend((0..500).map(|n| format!("round {round} record {n}")));
        let read = broker.run(&format!("consume {topic} -g {group} --from beginning --end")).ok();
        assert_eq!(read.lines().count(), 500, "the group goes on where it was (round {round})");
        if round == 1 {
            assert_eq!(broker.stop(), Some(0), "SIGTERM is answered with a clean end");
        } else {
            broker.kill();
        }
        broker = Broker::start(data.path());
        let read = broker.run(&format!("consume {topic} --from beginning --end")).ok();
        let mut read: Vec<String> = read.lines().map(str::to_string).collect();
        read.sort();
        let mut wanted = expected.clone();
        wanted.sort();
        assert_eq!(read, wanted, "round {round}");
        let described = &broker.run(&format!("topic describe {topic} --json")).json()[0];
        assert_eq!(described["configs"], json!({"retention.ms": "-1"}));
    }
}
