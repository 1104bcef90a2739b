//! The real binary from outside: starts, ends, crashes, wrong starts, and peers that misbehave.
//! Must never touch: the broker's insides.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use bytes::Bytes;
use coretide_client::admin::NewTopic;
use coretide_client::{Client, ClientConfig, Consumer, ConsumerConfig, OffsetSpec, Outgoing, Producer, ProducerConfig};

/// No step of these tests takes longer, whatever else the machine does.
const PATIENCE: Duration = Duration::from_secs(60);
/// A start on an empty directory; 100 ms is what a quiet machine must reach, and here other tests run beside.
const READY_LIMIT: Duration = Duration::from_secs(1);
/// ApiVersions version 0, correlation id 7, no client id.
const API_VERSIONS: [u8; 14] = [0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 7, 0xff, 0xff];

struct Broker {
    child: Child,
    lines: Receiver<String>,
    said: Vec<String>,
    address: SocketAddr,
    took: Duration,
}

fn command(data: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_coretide"));
    command.arg("serve").arg("--data").arg(data).args(arguments).stdin(Stdio::null());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CORETIDE_")) {
        command.env_remove(name);
    }
    command
}

impl Broker {
    fn start(data: &Path, shards: u16) -> Broker {
        Broker::start_with(data, shards, &[])
    }

    fn start_with(data: &Path, shards: u16, arguments: &[&str]) -> Broker {
        let began = Instant::now();
        let shards = shards.to_string();
        let mut child = command(data, &["--listen", "127.0.0.1:0", "--shards", &shards])
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary is there");
        let out = child.stdout.take().expect("it is piped");
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let mut said = Vec::new();
        loop {
            let Ok(line) = lines.recv_timeout(PATIENCE) else {
                child.kill().expect("it is our child");
                let status = child.wait().expect("it is our child");
                panic!("the broker did not get ready ({status}); it said {said:?}");
            };
            if let Some(address) = line.strip_prefix("ready ") {
                let address = address.parse().expect("one address");
                return Broker { child, lines, said, address, took: began.elapsed() };
            }
            said.push(line);
        }
    }

    fn client(&self) -> Client {
        Client::connect(ClientConfig::new(&self.address.to_string())).expect("the broker answers")
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("the broker listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(name).arg(self.child.id().to_string()).status();
        assert!(sent.expect("kill is there").success());
    }

    fn wait(&mut self) -> ExitStatus {
        // The pipe ends with the process.
        let end = Instant::now() + PATIENCE;
        while self.lines.recv_timeout(PATIENCE).is_ok() {
            assert!(Instant::now() < end, "the broker does not end");
        }
        self.child.wait().expect("it is our child")
    }

    fn stop(mut self) {
        self.signal("-TERM");
        assert_eq!(self.wait().code(), Some(0));
    }

    fn crash(mut self) {
        self.child.kill().expect("it is our child");
        assert_eq!(self.wait().code(), None);
    }

    /// A whole round trip on a connection of its own.
    fn answers(&self) {
        let mut stream = self.connect();
        stream.write_all(&API_VERSIONS).expect("sent");
        assert_eq!(answer(&mut stream)[..6], [0, 0, 0, 7, 0, 0]);
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // A failed test must not leave a broker behind; one that has ended already is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn answer(stream: &mut TcpStream) -> Vec<u8> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).expect("an answer");
    let mut body = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut body).expect("a whole answer");
    body
}

/// True when the peer ends the connection without (more) bytes.
fn is_closed(stream: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    // A reset is as good an end as any.
    stream.read_to_end(&mut rest).is_err() || rest.is_empty()
}

fn create(client: &mut Client, topic: &str, partitions: i32) {
    let topic = NewTopic { name: topic.to_string(), partitions: Some(partitions), ..NewTopic::default() };
    client.create_topic(&topic).expect("created");
}

fn value(n: usize) -> String {
    format!("record {n} {}", "x".repeat(n % 300))
}

fn produce(broker: &Broker, topic: &str, from: usize, count: usize, partitions: i32) {
    let mut producer = Producer::new(broker.client(), ProducerConfig::default());
    for n in from..from + count {
        let record = Outgoing {
            partition: Some(n as i32 % partitions),
            value: Some(Bytes::from(value(n))),
            ..Outgoing::default()
        };
        producer.send(topic, &record).expect("accepted");
    }
    producer.flush().expect("acknowledged");
}

/// All values of each partition, in order.
fn consume(broker: &Broker, topic: &str, count: usize, partitions: i32) -> Vec<Vec<String>> {
    let mut consumer = Consumer::new(broker.client(), ConsumerConfig::default());
    let all: Vec<_> = (0..partitions).map(|index| (topic.to_string(), index, OffsetSpec::Earliest)).collect();
    consumer.assign(&all).expect("assigned");
    let mut values = vec![Vec::new(); partitions as usize];
    let (mut got, end) = (0, Instant::now() + PATIENCE);
    while got < count {
        assert!(Instant::now() < end, "{got} of {count} records came");
        for record in consumer.poll(Duration::from_millis(200)).expect("fetched") {
            let partition = &mut values[record.partition as usize];
            assert_eq!(record.offset, partition.len() as i64);
            partition.push(String::from_utf8(record.value.expect("a value").to_vec()).expect("text"));
            got += 1;
        }
    }
    values
}

fn assert_all(values: &[Vec<String>], count: usize) {
    let partitions = values.len();
    for (index, values) in values.iter().enumerate() {
        let expected: Vec<String> = (0..count).filter(|n| n % partitions == index).map(value).collect();
        assert!(*values == expected, "partition {index} differs");
    }
}

fn refusal(data: &Path, arguments: &[&str]) -> String {
    let output = command(data, arguments).output().expect("the binary is there");
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn an_empty_directory_is_ready_at_once_and_a_signal_ends_it_well() {
    let mut best = PATIENCE;
    for _ in 0..5 {
        let dir = tempfile::tempdir().expect("a folder");
        let broker = Broker::start(&dir.path().join("data"), 2);
        best = best.min(broker.took);
        let said = broker.said.join("\n");
        for part in ["listens", "shards", "2, on cores", "data", "an ack", "power loss", "refused", "try"] {
            assert!(said.contains(part), "{part} is missing in\n{said}");
        }
        broker.answers();
        broker.stop();
        let meta = std::fs::read_to_string(dir.path().join("data/meta.properties")).expect("written");
        assert!(meta.contains("version=1\n") && meta.contains("cluster.id=") && meta.contains("node.id="), "{meta}");
    }
    println!("ready after {best:?}");
    assert!(best < READY_LIMIT, "the best of five starts took {best:?}");
}

#[test]
fn what_is_acknowledged_survives_kill_9_clean_stops_and_other_numbers_of_shards() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder on a real disk");
    let (partitions, step) = (3, 300);
    let mut total = 0;
    for (round, shards) in [2, 1, 3, 2].into_iter().enumerate() {
        let broker = Broker::start(dir.path(), shards);
        if round == 0 {
            create(&mut broker.client(), "kept", partitions);
        }
        assert_all(&consume(&broker, "kept", total, partitions), total);
        produce(&broker, "kept", total, step, partitions);
        total += step;
        assert_all(&consume(&broker, "kept", total, partitions), total);
        if round == 2 { broker.stop() } else { broker.crash() }
    }
    let broker = Broker::start(dir.path(), 2);
    assert_all(&consume(&broker, "kept", total, partitions), total);
    broker.stop();
}

#[test]
fn a_second_broker_on_a_directory_in_use_is_refused_and_the_first_goes_on() {
    let dir = tempfile::tempdir().expect("a folder");
    let broker = Broker::start(dir.path(), 1);
    let error = refusal(dir.path(), &["--listen", "127.0.0.1:0"]);
    assert!(error.contains("another broker") && error.contains("--data"), "{error}");
    let other = tempfile::tempdir().expect("a folder");
    let error = refusal(other.path(), &["--listen", &broker.address.to_string()]);
    assert!(error.contains("in use") && error.contains("--listen"), "{error}");
    broker.answers();
    broker.stop();
}

#[test]
fn wrong_starts_end_with_one_clear_message() {
    let dir = tempfile::tempdir().expect("a folder");
    let error = refusal(dir.path(), &["--override", "log.retention.mss=1"]);
    assert!(error.contains("log.retention.mss") && error.contains("log.retention.ms"), "{error}");
    let error = refusal(dir.path(), &["--config", "/no/such/file"]);
    assert!(error.contains("/no/such/file"), "{error}");
    let error = refusal(dir.path(), &["--listen", "203.0.113.77:9092"]);
    assert!(error.contains("does not have that address"), "{error}");
    let file = dir.path().join("file");
    std::fs::write(&file, b"x").expect("a file");
    let error = refusal(&file, &["--listen", "127.0.0.1:0"]);
    assert!(error.contains("not a folder"), "{error}");
    let newer = "version=1\ncluster.id=x\nnode.id=1\ndirectory.id=ASNFZ4mrze_-3LqYdlQyEA\ncoretide.format.version=99\n";
    std::fs::write(dir.path().join("meta.properties"), newer).expect("written");
    let error = refusal(dir.path(), &["--listen", "127.0.0.1:0"]);
    assert!(error.contains("format 99") && error.contains("newer version"), "{error}");
}

/// A small file system of its own; unmounted in the end.
struct Mounted(tempfile::TempDir);

impl Mounted {
    fn new(options: &str) -> Option<Mounted> {
        let dir = tempfile::tempdir().expect("a folder");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(dir.path()).output();
        mounted.is_ok_and(|output| output.status.success()).then(|| Mounted(dir))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(self.0.path()).status();
        assert!(unmounted.expect("umount is there").success());
    }
}

#[test]
fn full_and_read_only_disks_are_named_at_the_start() {
    let (Some(small), Some(fixed)) = (Mounted::new("size=2m"), Mounted::new("size=2m,ro")) else {
        println!("not run: mounting a file system needs root");
        return;
    };
    let error = refusal(small.0.path(), &["--listen", "127.0.0.1:0", "--shards", "1"]);
    assert!(error.contains("the disk is full"), "{error}");
    let error = refusal(&fixed.0.path().join("data"), &["--listen", "127.0.0.1:0"]);
    assert!(error.contains("read-only"), "{error}");
}

#[test]
fn a_file_system_in_memory_works() {
    let Ok(dir) = tempfile::tempdir_in("/dev/shm") else {
        println!("not run: there is no /dev/shm");
        return;
    };
    let broker = Broker::start(dir.path(), 2);
    assert!(broker.said.iter().any(|line| line.contains("tmpfs")), "{:?}", broker.said);
    create(&mut broker.client(), "t", 2);
    produce(&broker, "t", 0, 100, 2);
    broker.crash();
    let broker = Broker::start(dir.path(), 1);
    assert_all(&consume(&broker, "t", 100, 2), 100);
    broker.stop();
}

#[test]
fn two_thousand_connections_are_served_at_once() {
    let limit = coretide_reactor::cpu::raise_open_files().expect("a limit");
    let count = 2_000.min(limit as usize / 2);
    let dir = tempfile::tempdir().expect("a folder");
    let broker = Broker::start(dir.path(), 2);
    let mut streams: Vec<TcpStream> = (0..count).map(|_| broker.connect()).collect();
    for stream in &mut streams {
        stream.write_all(&API_VERSIONS).expect("sent");
    }
    for stream in &mut streams {
        assert_eq!(answer(stream)[..4], [0, 0, 0, 7]);
    }
    let status = std::fs::read_to_string(format!("/proc/{}/status", broker.child.id())).expect("it runs");
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
    let kib: u64 = resident.trim().trim_end_matches(" kB").parse().expect("a number");
    assert!(kib < 200 * 1024, "{count} connections take {kib} KiB");
    drop(streams);
    broker.answers();
    broker.stop();
}

#[test]
fn slow_and_senseless_peers_are_cut_or_waited_for_and_others_notice_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let broker = Broker::start(dir.path(), 2);
    let mut slow: Vec<TcpStream> = (0..20).map(|_| broker.connect()).collect();
    slow.iter_mut().for_each(|stream| stream.write_all(&API_VERSIONS[..1]).expect("sent"));
    let senseless: [&[u8]; 6] = [
        &[0xff; 40],
        &i32::MAX.to_be_bytes(),
        &[0x80, 0, 0, 0],
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        &[0, 0, 0, 1, 0],
        &[0, 0, 0, 0],
    ];
    for bytes in senseless {
        for _ in 0..10 {
            let mut stream = broker.connect();
            stream.write_all(bytes).expect("sent");
            assert!(is_closed(&mut stream), "{bytes:?} was answered");
            broker.answers();
        }
    }
    // A frame of 90 MB is announced by many, and none of it comes: memory is taken by what arrives, not by promises.
    let mut greedy: Vec<TcpStream> = (0..20).map(|_| broker.connect()).collect();
    greedy.iter_mut().for_each(|stream| stream.write_all(&90_000_000i32.to_be_bytes()).expect("sent"));
    broker.answers();
    for stream in &mut slow {
        stream.write_all(&API_VERSIONS[1..]).expect("still open");
        assert_eq!(answer(stream)[..4], [0, 0, 0, 7]);
    }
    broker.stop();
}

#[test]
fn a_second_signal_ends_at_once_and_loses_nothing() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder on a real disk");
    let mut broker = Broker::start(dir.path(), 2);
    create(&mut broker.client(), "t", 1);
    produce(&broker, "t", 0, 200, 1);
    broker.signal("-TERM");
    broker.signal("-INT");
    // The first may have ended it before the second came.
    assert!(matches!(broker.wait().code(), Some(0 | 130)));
    let broker = Broker::start(dir.path(), 2);
    assert_all(&consume(&broker, "t", 200, 1), 200);
    broker.stop();
}
