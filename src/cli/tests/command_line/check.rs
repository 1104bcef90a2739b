//! `coretide check` on data that a broker wrote and a test damaged.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::broker::{Broker, Ended, run};

const NOWHERE: &str = "127.0.0.1:1";

/// A stopped data directory with two topics of some records.
fn written(data: &Path, stop: impl FnOnce(Broker)) -> bool {
    let broker = Broker::start(data);
    if !broker.is_ours() {
        eprintln!("not run: the data directory of a foreign cluster is not at hand");
        return false;
    }
    let words: String = (0..500).map(|n| format!("record number {n} of this topic\n")).collect();
    for topic in ["first", "second"] {
        broker.run(&format!("topic create {topic} -c index.interval.bytes=100")).ok();
        for _ in 0..6 {
            broker.feed(&format!("produce {topic}"), &words).ok();
        }
    }
    let busy = check(data, "").failed(2);
    assert!(busy.contains("a broker is using"), "{busy}");
    stop(broker);
    true
}

fn check(data: &Path, flags: &str) -> Ended {
    run(NOWHERE, &format!("check {} {flags}", data.display()), "")
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).expect("the file is there");
    bytes[at] ^= 0x10;
    fs::write(path, bytes).expect("it can be written");
}

fn segment(data: &Path, topic: &str, extension: &str) -> PathBuf {
    data.join(format!("{topic}-0/00000000000000000000.{extension}"))
}

fn findings(ended: Ended) -> Vec<Value> {
    let document: Value = serde_json::from_str(&ended.stdout).expect("a document, whatever was found");
    assert_eq!(document["whole"] == true, ended.code == 0, "{ended:?}");
    document["findings"].as_array().expect("a list").clone()
}

#[test]
fn a_stopped_directory_is_whole_and_a_flipped_byte_is_named() {
    let data = tempfile::tempdir().expect("a folder");
    if !written(data.path(), |broker| assert_eq!(broker.stop(), Some(0))) {
        return;
    }
    let text = check(data.path(), "").ok();
    assert!(text.contains("first-0") && text.contains("stopped cleanly") && text.contains("whole"), "{text}");
    assert_eq!(findings(check(data.path(), "--json")), Vec::<Value>::new());
    flip(&segment(data.path(), "first", "log"), 5000);
    let found = findings(check(data.path(), "--json"));
    assert_eq!((found.len(), &found[0]["severity"]), (1, &Value::from("loss")), "{found:?}");
    let position = found[0]["position"].as_u64().expect("a position");
    assert!(found[0]["path"] == "first-0/00000000000000000000.log" && position <= 5000, "{found:?}");
    let ended = check(data.path(), "--repair");
    assert!(ended.stdout.contains("DAMAGED") && ended.stdout.contains("restore the file"), "{ended:?}");
    ended.failed(1);
    check(data.path().join("absent").as_path(), "").failed(2);
}

#[test]
fn a_damaged_index_is_made_anew_by_repair_and_a_kill_is_no_damage() {
    let data = tempfile::tempdir().expect("a folder");
    if !written(data.path(), Broker::kill) {
        return;
    }
    let text = check(data.path(), "").ok();
    assert!(text.contains("commits to replay"), "{text}");
    let broker = Broker::start(data.path());
    assert_eq!(broker.stop(), Some(0));
    let index = segment(data.path(), "second", "index");
    let before = fs::read(&index).expect("an index");
    assert!(before.len() >= 16, "the test needs entries: {}", before.len());
    flip(&index, 9);
    fs::remove_file(segment(data.path(), "first", "timeindex")).expect("it is there");
    let found = findings(check(data.path(), "--json"));
    assert!(found.len() == 2 && found.iter().all(|one| one["severity"] == "mendable"), "{found:?}");
    let text = check(data.path(), "--repair").ok();
    assert!(text.contains("repaired: second-0"), "{text}");
    assert_eq!(fs::read(&index).expect("an index"), before);
    assert_eq!(findings(check(data.path(), "--json")), Vec::<Value>::new());
}

/// The words of a topic that can be consumed, and whether all could.
fn consumed(broker: &Broker, topic: &str) -> (Vec<String>, Ended) {
    let ended = broker.run(&format!("consume {topic} --from beginning --end --request-timeout 5s"));
    (ended.stdout.lines().map(str::to_string).collect(), ended)
}

#[test]
fn bit_rot_is_never_consumed_and_the_other_partitions_go_on() {
    let data = tempfile::tempdir().expect("a folder");
    if !written(data.path(), |broker| assert_eq!(broker.stop(), Some(0))) {
        return;
    }
    let log = segment(data.path(), "first", "log");
    let size = fs::metadata(&log).expect("a segment").len() as usize;
    flip(&log, size / 2);
    flip(&segment(data.path(), "second", "index"), 9);
    let broker = Broker::start(data.path());
    let (words, ended) = consumed(&broker, "second");
    ended.ok();
    let whole: Vec<String> =
        (0..6).flat_map(|_| (0..500).map(|n| format!("record number {n} of this topic"))).collect();
    assert_eq!(words, whole, "a wrong index costs nothing");
    let (words, ended) = consumed(&broker, "first");
    assert!(words.len() < whole.len() && words == whole[..words.len()], "only what is whole: {} records", words.len());
    assert!(ended.code != 0 && ended.stderr.contains("CORRUPT_MESSAGE"), "{ended:?}");
    broker.feed("produce first", "one more\n").ok();
    assert_eq!(broker.stop(), Some(0));
}

/// Places of the journal's newest commits, oldest first: file, position.
fn commits(data: &Path) -> Vec<(u64, PathBuf, usize)> {
    let mut found = Vec::new();
    for shard in 0..2 {
        let dir = fs::read_dir(data.join(format!(".coretide/shard-{shard}"))).expect("a shard");
        for file in dir.map(|entry| entry.expect("an entry").path()) {
            let bytes = fs::read(&file).expect("a file");
            let blocks = bytes.chunks(4096).enumerate().filter(|(_, block)| block.starts_with(b"CTJOURNL"));
            let seq = |block: &[u8]| u64::from_le_bytes(block[24..32].try_into().expect("eight bytes"));
            found.push(blocks.map(|(at, block)| (seq(block), file.clone(), at * 4096)).collect::<Vec<_>>());
        }
    }
    found.into_iter().max_by_key(Vec::len).expect("a journal")
}

#[test]
fn a_hole_in_the_journal_refuses_the_start_with_its_place() {
    let data = tempfile::tempdir().expect("a folder");
    if !written(data.path(), Broker::kill) {
        return;
    }
    let commits = commits(data.path());
    let (_, file, at) = &commits[commits.len() - 3];
    flip(file, at + 80);
    let refused = run(NOWHERE, &format!("serve --listen 127.0.0.1:0 --shards 2 --data {}", data.path().display()), "");
    let words = refused.failed(1);
    let name = file.file_name().and_then(|name| name.to_str()).expect("a name");
    assert!(words.contains(name) && words.contains(&format!("position {at}")), "{words}");
    let found = findings(check(data.path(), "--json"));
    assert!(found.iter().any(|one| one["severity"] == "loss" && one["position"] == *at), "{found:?}");
    check(data.path(), "--cut-journal").ok();
    assert_eq!(Broker::start(data.path()).stop(), Some(0));
    check(data.path(), "").ok();
}

/// Without its boot file the broker came up as an empty cluster, and took what the journals held for free space.
#[test]
fn bug_ours_a_start_without_boot_files_was_one_as_an_empty_cluster() {
    for (stop, place) in [(true, "second-0"), (false, "/journal-00000")] {
        let data = tempfile::tempdir().expect("a folder");
        let end = |broker: Broker| if stop { assert_eq!(broker.stop(), Some(0)) } else { broker.kill() };
        if !written(data.path(), end) {
            return;
        }
        let (own, aside) = (data.path().join(".coretide"), data.path().join("aside"));
        let boot = fs::read(own.join("boot-0")).expect("the first start writes it");
        fs::remove_file(own.join("boot-0")).expect("it is there");
        let line = format!("serve --listen 127.0.0.1:0 --shards 2 --data {}", data.path().display());
        let refused = |place: &str| {
            let words = run(NOWHERE, &line, "").failed(1);
            let told = [place, "no boot file", "coretide check", "restore"];
            assert!(told.iter().all(|part| words.contains(part)), "{words}");
            assert!(!findings(check(data.path(), "--json")).is_empty());
        };
        refused(place);
        if stop {
            fs::rename(&own, &aside).expect("on one volume");
            refused(place);
            fs::rename(&aside, &own).expect("on one volume");
        }
        fs::write(own.join("boot-0"), boot).expect("restored");
        let broker = Broker::start(data.path());
        for topic in ["first", "second"] {
            let (words, ended) = consumed(&broker, topic);
            ended.ok();
            assert_eq!(words.len(), 3000, "{topic}");
        }
        assert_eq!(broker.stop(), Some(0));
    }
}
