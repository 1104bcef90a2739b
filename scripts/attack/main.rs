//! Attacks on the real binary with healthy clients beside them. For each attack a broker of its own is started, the healthy
//! clients are measured alone, then beside the attacker (a process of its own at nice 19, so that it costs the broker only
//! what the broker does for it), and at the end everything is held against what was promised:
//!
//! ```text
//!   the process lives · resident memory <= shards x coretide.shard.memory.bytes + 5 % · the attacker got Kafka's answer
//!   or a closed connection · the healthy clients' every append and fetch was right, small and large ones went on (an attack
//!   beside which none did is run again for longer, since the machine itself may have stood still)
//! ```
//!
//! Throughput and p99 of the healthy clients are reported, and fail nothing: they belong to the machine, too.
//! Must never touch: the broker's rooms.

mod broker;
mod healthy;
mod kinds;
mod peer;

use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use broker::Broker;
use healthy::{Healthy, Step};
use kinds::{ATTACKS, Attack, Target};

/// How often the broker is looked at while it is attacked.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long an attacker may take beyond its time; the machine may stand still for minutes while others measure.
const OVERTIME_MAX: Duration = Duration::from_secs(600);
/// How long an attack lasts at least that is run again because nobody got through beside it.
const AGAIN_MIN: Duration = Duration::from_secs(10);
/// Resident memory may exceed the limit by one part in this many.
const MEMORY_SLACK: u64 = 20;

const USAGE: &str = "usage: attack --binary FILE --data DIR [--seconds N] [--short] [NAME...]
       attack --list
       attack --as NAME --address HOST:PORT --seconds N";

/// The time of day in milliseconds, as records carry it.
pub fn wall_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64
}

/// What was asked for.
struct Options {
    binary: PathBuf,
    data: PathBuf,
    attack_for: Duration,
    baseline_for: Duration,
    names: Vec<String>,
    attacker: Option<(String, String)>,
}

fn options() -> Result<Option<Options>, String> {
    let mut options = Options {
        binary: PathBuf::new(),
        data: PathBuf::new(),
        attack_for: Duration::from_secs(5),
        baseline_for: Duration::from_secs(4),
        names: Vec::new(),
        attacker: None,
    };
    let (mut name, mut address) = (None, None);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| USAGE.to_string());
        match argument.as_str() {
            "--binary" => options.binary = value()?.into(),
            "--data" => options.data = value()?.into(),
            "--seconds" => {
                let seconds = value()?.parse::<f64>().ok().filter(|seconds| (0.1..=3600.0).contains(seconds));
                options.attack_for = Duration::from_secs_f64(seconds.ok_or("--seconds needs 0.1 to 3600")?);
            }
            "--short" => {
                (options.attack_for, options.baseline_for) = (Duration::from_millis(700), Duration::from_millis(400));
            }
            "--as" => name = Some(value()?),
            "--address" => address = Some(value()?),
            "--list" => return Ok(None),
            flag if flag.starts_with('-') => return Err(USAGE.to_string()),
            _ => options.names.push(argument),
        }
    }
    options.attacker = name.zip(address);
    Ok(Some(options))
}

fn find(name: &str) -> Result<&'static Attack, String> {
    let found = ATTACKS.iter().find(|attack| attack.name == name);
    found.ok_or_else(|| format!("there is no attack '{name}': see --list"))
}

fn main() -> ExitCode {
    let ended = match options() {
        Ok(None) => {
            ATTACKS.iter().for_each(|attack| println!("{}", attack.name));
            return ExitCode::SUCCESS;
        }
        Ok(Some(options)) => match &options.attacker {
            Some((name, address)) => be_attacker(name, address, options.attack_for),
            None => run_all(&options),
        },
        Err(problem) => Err(problem),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}

/// The attacker's process: one line about what it got.
fn be_attacker(name: &str, address: &str, attack_for: Duration) -> Result<(), String> {
    let address = address.parse().map_err(|_| format!("{address} is no address"))?;
    let words = (find(name)?.run)(&Target { address, until: Instant::now() + attack_for })?;
    println!("{words}");
    Ok(())
}

/// One attack's row of the table.
struct Row {
    name: &'static str,
    /// Why it failed.
    failure: Option<String>,
    figures: Option<Figures>,
}

/// What was measured.
struct Figures {
    /// Steps per second of the healthy clients beside the attack, and before it.
    rate: (f64, f64),
    /// Their 99th percentile in milliseconds, in the same order.
    p99_ms: (f64, f64),
    idle_bytes: u64,
    peak_bytes: u64,
    got: String,
}

fn run_all(options: &Options) -> Result<(), String> {
    let chosen: Vec<&Attack> = if options.names.is_empty() {
        ATTACKS.iter().collect()
    } else {
        options.names.iter().map(|name| find(name)).collect::<Result<_, _>>()?
    };
    std::fs::create_dir_all(&options.data).map_err(|error| format!("{}: {error}", options.data.display()))?;
    println!("{}", head());
    let mut failed = Vec::new();
    for attack in &chosen {
        let row = run_one(attack, options);
        println!("{}", line(&row));
        failed.extend(row.failure.is_some().then_some(row.name));
    }
    println!("{} attacks, {} failed; limit {} MiB", chosen.len(), failed.len(), Broker::limit_bytes() >> 20);
    if failed.is_empty() { Ok(()) } else { Err(format!("failed: {}", failed.join(", "))) }
}

fn head() -> String {
    format!(
        "{:<20} {:>7} {:>8} {:>9} {:>9} {:>6} {:>6}  what the attacker got",
        "attack", "healthy", "of /s", "p99 ms", "alone", "RSS", "idle"
    )
}

fn line(row: &Row) -> String {
    let mut text = format!("{:<20} ", row.name);
    if let Some(figures) = &row.figures {
        let (rate, alone) = figures.rate;
        let (p99_ms, p99_alone_ms) = figures.p99_ms;
        text.push_str(&format!(
            "{:>6.0}% {alone:>8.0} {p99_ms:>9.1} {p99_alone_ms:>9.1} {:>6} {:>6}  {}",
            100.0 * rate / alone.max(0.001),
            figures.peak_bytes >> 20,
            figures.idle_bytes >> 20,
            figures.got
        ));
    }
    if let Some(failure) = &row.failure {
        text.push_str(&format!("\n    FAILED: {failure}"));
    }
    text
}

/// Why an attack's promises do not hold.
enum Failure {
    /// No append of a healthy client, small or large, began and ended beside the attack.
    NoProgress(&'static str),
    Other(String),
}

impl From<String> for Failure {
    fn from(reason: String) -> Failure {
        Failure::Other(reason)
    }
}

/// Runs an attack. If nobody got through beside it, it is run once more and for longer: in a moment in which the machine
/// stands still, nobody gets anything through.
fn run_one(attack: &'static Attack, options: &Options) -> Row {
    let mut row = Row { name: attack.name, failure: None, figures: None };
    let mut tried = try_one(attack, options, options.attack_for, &mut row);
    if matches!(tried, Err(Failure::NoProgress(_))) {
        tried = try_one(attack, options, options.attack_for.max(AGAIN_MIN), &mut row);
    }
    row.failure = match tried {
        Ok(()) => None,
        Err(Failure::NoProgress(what)) => Some(format!("no {what} append of a healthy client got through, twice")),
        Err(Failure::Other(reason)) => Some(reason),
    };
    row
}

fn try_one(attack: &'static Attack, options: &Options, attack_for: Duration, row: &mut Row) -> Result<(), Failure> {
    let folder = options.data.join("data");
    let log = options.data.join(format!("{}.log", attack.name));
    let mut broker = Broker::start(&options.binary, &folder, &log, attack.overrides)?;
    let healthy = Healthy::start(broker.address())?;
    let alone_from = Instant::now();
    thread::sleep(options.baseline_for);
    let (idle_bytes, _) = broker.resident_bytes()?;
    let from = Instant::now();
    let got = run_attacker(attack, attack_for, &mut broker, &healthy);
    let to = Instant::now();
    let alive = broker.check_alive();
    let (_, peak_bytes) = alive.clone().and_then(|()| broker.resident_bytes()).unwrap_or_default();
    let steps = healthy.finish();
    alive?;
    let steps = steps?;
    let (alone, beside) = (window(&steps, alone_from, from), window(&steps, from, to));
    row.figures = Some(Figures {
        rate: (beside.rate, alone.rate),
        p99_ms: (beside.p99_ms, alone.p99_ms),
        idle_bytes,
        peak_bytes,
        got: got.as_deref().unwrap_or("-").to_string(),
    });
    got?;
    let most = Broker::limit_bytes() + Broker::limit_bytes() / MEMORY_SLACK;
    if peak_bytes > most {
        return Err(format!("{} MiB were resident, {} are allowed", peak_bytes >> 20, most >> 20).into());
    }
    match (beside.small, beside.large) {
        (0, _) => Err(Failure::NoProgress("small")),
        (_, 0) => Err(Failure::NoProgress("large")),
        _ => Ok(()),
    }
}

/// Runs the attacker to its end; what it says.
fn run_attacker(
    attack: &Attack,
    attack_for: Duration,
    broker: &mut Broker,
    healthy: &Healthy,
) -> Result<String, String> {
    let own = std::env::current_exe().map_err(|error| format!("the attacker: {error}"))?;
    let seconds = attack_for.as_secs_f64().to_string();
    let mut attacker = Command::new("nice")
        .args(["-n", "19"])
        .arg(own)
        .args(["--as", attack.name, "--address", broker.address(), "--seconds", &seconds])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("the attacker did not start: {error}"))?;
    let started = Instant::now();
    let status = loop {
        match attacker.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) => {}
            Err(error) => return Err(format!("the attacker: {error}")),
        }
        let stuck = started.elapsed() > attack_for + OVERTIME_MAX;
        if stuck || broker.check_alive().is_err() || healthy.has_failed() {
            // What went wrong is told by the broker or the healthy clients; this one only has to go.
            let _ = attacker.kill();
            let _ = attacker.wait();
            return Err(if stuck { "the attacker never ended" } else { "the attack was cut short" }.to_string());
        }
        thread::sleep(LOOK_EVERY);
    };
    let output = attacker.wait_with_output().map_err(|error| format!("the attacker: {error}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_string();
    if status.success() { Ok(text(&output.stdout)) } else { Err(format!("the attacker: {}", text(&output.stderr))) }
}

/// The healthy clients between two moments.
struct Window {
    rate: f64,
    p99_ms: f64,
    small: usize,
    large: usize,
}

fn window(steps: &[Step], from: Instant, to: Instant) -> Window {
    let inside: Vec<&Step> = steps.iter().filter(|step| step.begun >= from && step.begun + step.took <= to).collect();
    // A step that was still on its way at the end counts for the percentile: a client that stands still has few steps.
    let touching = steps.iter().filter(|step| step.begun < to && step.begun + step.took > from);
    let mut took: Vec<Duration> = touching.map(|step| step.took).collect();
    took.sort_unstable();
    let p99 = took.get(took.len().saturating_sub(1) * 99 / 100).copied().unwrap_or_default();
    let large = inside.iter().filter(|step| step.large).count();
    Window {
        rate: inside.len() as f64 / (to - from).as_secs_f64().max(0.001),
        p99_ms: p99.as_secs_f64() * 1000.0,
        small: inside.len() - large,
        large,
    }
}
