//! From options to a running broker and back: boot, threads, signals, the end.
//! Must never touch: requests.

use std::net::{SocketAddr, ToSocketAddrs};
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Barrier};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use coretide_log::store::{Boot, BootConfig, BootError, BootReport, ShardRecovered};
use coretide_model::{BrokerConfig, ShardId};
use coretide_reactor::background::{Background, BackgroundKind, BackgroundOptions};
use coretide_reactor::fs::{Commits, Disk};
use coretide_reactor::lanes::{Mailbox, mailboxes};
use coretide_reactor::net::{Bound, host_name};
use coretide_reactor::reactor::{Options, Reactor};
use coretide_reactor::signals::{Signals, Waited};
use coretide_reactor::wake::{Doorbell, EventFd};
use coretide_reactor::{cpu, probe, ring};
use coretide_shard::{MemoryShares, Shard, ShardConfig, placement, store_limits};

use crate::ServeOptions;
use crate::config;
use crate::data_dir::{DataDir, in_words, random_u128};
use crate::error::ServeError;
use crate::files::{HotFiles, run_job};
use crate::seating::Seating;
use crate::shell::{Clock, Control, Lines, Parcel, Report, Shell};
use crate::start_lines::StartLines;

/// The exit code after a second signal.
const IMPATIENT_EXIT_CODE: i32 = 130;
/// Connections that may wait to be accepted, even if `socket.listen.backlog.size` (50 by default) says less: when the queue
/// is full, the kernel drops what comes and the client tries again after a whole second.
const BACKLOG_MIN: i32 = 1024;
/// How long a port in use is tried again at the start, and how often.
const PORT_PATIENCE: Duration = Duration::from_secs(3);
const PORT_RETRY: Duration = Duration::from_millis(5);
/// Descriptors below which many connections and partitions run out of them.
const OPEN_FILES_WANTED: u64 = 10_000;
/// Descriptors of a shard that are no connections: files of both its threads, rings, what a splice takes.
const FILES_OF_SHARD: u64 = 1024;

/// Runs a broker until SIGTERM or SIGINT; a second signal ends the process at once.
pub fn serve(options: ServeOptions) -> Result<(), ServeError> {
    cpu::abort_on_panic();
    let signals = Signals::take()?;
    let (config, notes) = config::load(&options, std::env::vars())?;
    notes.iter().for_each(|note| tracing::warn!("{note}"));
    ring::try_ring()?;
    let data = DataDir::open(&data_path(&config)?, config.node_id)?;
    let (direct, mut refused) = probe_machine(&data.path)?;
    let (config, bound) = bind_listeners(config)?;
    let wanted = NonZeroU16::new(config.engine.shards);
    let seating = Seating::of(wanted, config.engine.pin_cores, &cpu::allowed_cores());
    let boot = recover(&data.path, direct, &config, seating.shards)?;
    let broker = Broker { config: Arc::new(config), data, direct, seating };
    let mut threads = broker.start(boot.shards)?;
    if let Some(reason) = threads.wait_ready(&signals)? {
        refused.push(reason);
    }
    if threads.stopping {
        return threads.finish(&signals);
    }
    let addresses = threads.listen(bound, broker.config.network.socket_listen_backlog_size)?;
    let lines = StartLines {
        addresses: &addresses,
        shards: broker.seating.shards,
        cores: &broker.seating.hot,
        data: &broker.data.path,
        file_system: probe::file_system(&broker.data.path),
        cluster_id: &broker.data.cluster_id,
        flush_messages: broker.config.topic(&Default::default()).flush_messages,
        refused: &refused,
    };
    print_lines(&lines.text());
    threads.run(&signals)
}

/// A closed standard output is no reason to end.
fn print_lines(text: &str) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    let printed = writeln!(out, "{text}").and_then(|()| out.flush());
    if let Err(error) = printed {
        tracing::debug!("the start lines were not printed: {error}");
    }
}

fn data_path(config: &BrokerConfig) -> Result<PathBuf, ServeError> {
    match config.log_dirs.as_slice() {
        [one] => Ok(PathBuf::from(one)),
        many => Err(ServeError::Config(vec![format!(
            "log.dirs={} names {} folders; this broker keeps its data in one: join the disks below the file system",
            many.join(","),
            many.len()
        )])),
    }
}

/// Whether the data directory takes direct IO, and what the machine refuses.
fn probe_machine(path: &Path) -> Result<(bool, Vec<String>), ServeError> {
    let mut refused = Vec::new();
    let direct = match probe::takes_direct_io(path) {
        Ok(()) => true,
        Err(error) if probe::means_no_direct_io(&error) => {
            refused.push(format!(
                "direct IO by the file system ({}): writes pass through the page cache and are flushed, which costs a \
                 copy and latency; a data directory on ext4 or xfs has it",
                probe::file_system(path)
            ));
            false
        }
        Err(error) => return Err(ServeError::DataDir { path: path.to_path_buf(), reason: in_words(&error) }),
    };
    let files = cpu::raise_open_files()?;
    if files < OPEN_FILES_WANTED {
        refused.push(format!("more than {files} open files: connections and partitions share them; raise ulimit -n"));
    }
    Ok((direct, refused))
}

type Listeners = Vec<(String, Bound)>;

/// Takes all addresses, and writes the ports that the system chose into the configuration.
fn bind_listeners(mut config: BrokerConfig) -> Result<(BrokerConfig, Listeners), ServeError> {
    let mut bound = Vec::new();
    for listener in &mut config.listeners {
        let host = if listener.host.is_empty() { "0.0.0.0" } else { &listener.host };
        let address = format!("{host}:{}", listener.port);
        let refuse = |reason: String| ServeError::Listen { address: address.clone(), reason };
        let mut found = (host, listener.port).to_socket_addrs().map_err(|error| refuse(error.to_string()))?;
        let target = found.next().ok_or_else(|| refuse("the name has no address".to_string()))?;
        let socket = bind_patiently(target).map_err(|error| refuse(bind_reason(&error)))?;
        let real = socket.address().map_err(|error| refuse(error.to_string()))?;
        listener.port = real.port();
        if listener.advertised.is_none() {
            let reachable = if real.ip().is_unspecified() { host_name() } else { host.to_string() };
            listener.advertised = Some((reachable, real.port()));
        }
        bound.push((listener.name.clone(), socket));
    }
    Ok((config, bound))
}

/// A killed broker's sockets outlive it by the moment that the kernel takes to tear its rings down, so a port in use is
/// tried again for [`PORT_PATIENCE`].
fn bind_patiently(target: SocketAddr) -> std::io::Result<Bound> {
    let started = Instant::now();
    loop {
        match Bound::new(target) {
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse && started.elapsed() < PORT_PATIENCE => {
                std::thread::sleep(PORT_RETRY);
            }
            other => return other,
        }
    }
}

fn bind_reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            "the port is in use; stop what uses it, or choose another with --listen".to_string()
        }
        std::io::ErrorKind::PermissionDenied => "ports below 1024 need a privilege; choose a higher one".to_string(),
        std::io::ErrorKind::AddrNotAvailable => "this machine does not have that address".to_string(),
        _ => error.to_string(),
    }
}

/// Brings the data directory into the state that the shards start from.
fn recover(path: &Path, direct: bool, config: &BrokerConfig, shards: u16) -> Result<BootReport, ServeError> {
    let refuse = |reason: String| ServeError::Recovery { path: path.to_path_buf(), reason };
    let random = random_u128().map_err(|error| refuse(in_words(&error)))? as u64;
    let boot = BootConfig {
        shards,
        owner: Arc::new(|tp, shards| placement::owner(tp, shards).0),
        random,
        limits: store_limits(config),
        vital: Some(placement::METADATA_PARTITION),
    };
    let disk = Disk::new(path, direct);
    let report = run_job(&disk, Boot::new(boot)).map_err(|error| match &error {
        BootError::Io(io) if io.is_no_space() => refuse(format!("the disk is full; free some space ({error})")),
        _ => refuse(error.to_string()),
    })?;
    report.notes.iter().for_each(|note| tracing::warn!("{note}"));
    tracing::info!(clean = report.clean, bytes_read = report.bytes_read, "recovered");
    Ok(report)
}

/// What all shards have in common.
struct Broker {
    config: Arc<BrokerConfig>,
    data: DataDir,
    direct: bool,
    seating: Seating,
}

/// Everything that one hot thread starts from.
struct Seat {
    core: Option<usize>,
    background_core: Option<usize>,
    shard: ShardConfig,
    recovered: ShardRecovered,
    path: PathBuf,
    direct: bool,
    lines: Lines,
    clock: Clock,
    commits: Arc<Commits>,
    kinds: Sender<BackgroundKind>,
    /// Rings are closed only when no neighbour sends wake-ups any more.
    all_ended: Arc<Barrier>,
}

/// The running hot threads.
struct Threads {
    controls: Vec<(Sender<Control>, Arc<Doorbell>)>,
    reports: Receiver<(usize, Report)>,
    kinds: Receiver<BackgroundKind>,
    bell: Arc<EventFd>,
    handles: Vec<JoinHandle<Result<(), String>>>,
    ready: usize,
    stopped: usize,
    stopping: bool,
}

impl Broker {
    fn start(&self, recovered: Vec<ShardRecovered>) -> Result<Threads, ServeError> {
        let bells: Vec<Arc<Doorbell>> = (0..self.seating.shards).map(|_| Doorbell::new()).collect::<Result<_, _>>()?;
        let boxes: Vec<Mailbox<Parcel>> = mailboxes(&bells);
        let main_bell = Arc::new(EventFd::new()?);
        let (reports, receive_reports) = channel();
        let (kinds, receive_kinds) = channel();
        let clock = Clock::start();
        let commits = Arc::new(Commits::new(clock.origin()));
        let all_ended = Arc::new(Barrier::new(self.seating.shards as usize));
        let cluster_id: Arc<str> = Arc::from(self.data.cluster_id.as_str());
        let mut threads = Threads {
            controls: Vec::new(),
            reports: receive_reports,
            kinds: receive_kinds,
            bell: Arc::clone(&main_bell),
            handles: Vec::new(),
            ready: 0,
            stopped: 0,
            stopping: false,
        };
        for (me, (mailbox, recovered)) in boxes.into_iter().zip(recovered).enumerate() {
            let (control, receive_control) = channel();
            threads.controls.push((control, Arc::clone(&bells[me])));
            let seed = random_u128()
                .map_err(|error| ServeError::DataDir { path: self.data.path.clone(), reason: in_words(&error) })?;
            let core = self.seating.hot.get(me).copied();
            let seat = Seat {
                core,
                background_core: core.filter(|_| self.seating.background_stays),
                shard: ShardConfig {
                    shard: ShardId(me as u16),
                    shards: self.seating.shards,
                    broker: Arc::clone(&self.config),
                    cluster_id: Arc::clone(&cluster_id),
                    seed: seed as u64,
                },
                recovered,
                path: self.data.path.clone(),
                direct: self.direct,
                lines: Lines {
                    me,
                    bell: Arc::clone(&bells[me]),
                    mailbox,
                    control: receive_control,
                    reports: reports.clone(),
                    main_bell: Arc::clone(&main_bell),
                },
                clock,
                commits: Arc::clone(&commits),
                kinds: kinds.clone(),
                all_ended: Arc::clone(&all_ended),
            };
            let bell = Arc::clone(&main_bell);
            let started = std::thread::Builder::new().name(format!("shard-{me}")).spawn(move || {
                let ended = seat.run();
                bell.signal();
                ended
            });
            threads.handles.push(
                started.map_err(|error| coretide_reactor::error::SetupError::System {
                    what: "starting a thread",
                    error,
                })?,
            );
        }
        Ok(threads)
    }
}

/// How many connections a shard may have when the process may open so many files. A flood of connections must leave
/// descriptors for the journal and the segments: a commit that cannot open its file stops the shard.
fn connections_max(open_files: u64, shards: u16) -> usize {
    let share = open_files / u64::from(shards.max(1));
    usize::try_from(share - FILES_OF_SHARD.min(share / 2)).unwrap_or(usize::MAX)
}

impl Seat {
    /// The life of a hot thread.
    fn run(self) -> Result<(), String> {
        let me = self.lines.me;
        let (network, engine) = (&self.shard.broker.network, &self.shard.broker.engine);
        let open_files = cpu::raise_open_files().map_err(|error| error.to_string())?;
        let options = Options {
            frame_bytes_max: network.socket_request_max_bytes,
            frame_memory_bytes: MemoryShares::of(&self.shard.broker).large_frames_bytes,
            socket_buffers: (network.socket_send_buffer_bytes, network.socket_receive_buffer_bytes),
            connections_max: connections_max(open_files, self.shard.shards),
        };
        let disk = Disk::new(&self.path, self.direct).giving_way_to(Arc::clone(&self.commits));
        let disk = Arc::new(disk);
        let start = |name: &str| {
            let options = BackgroundOptions {
                name: format!("shard-{me}-{name}"),
                core: self.background_core,
                nice: cpu::BACKGROUND_NICE,
                disk: Arc::clone(&disk),
                hot: Arc::clone(&self.lines.bell),
            };
            let started = Background::start(options).map_err(|error| error.to_string())?;
            let _ = self.kinds.send(started.kind().clone());
            Ok::<_, String>(started)
        };
        let (background, reads) = (start("bg")?, start("read")?);
        // After its background has begun, which would inherit the core.
        if let Some(core) = self.core
            && !cpu::pin_to(core)
        {
            tracing::warn!("shard {me} could not be pinned to core {core}");
        }
        let reactor = Reactor::new(options, Arc::clone(&self.lines.bell)).map_err(|error| error.to_string())?;
        let (shards, spin_us) = (self.shard.shards as usize, engine.poll_idle_us);
        let mut shell = Shell {
            shard: Shard::new(self.shard, self.recovered),
            reactor,
            background,
            reads,
            files: HotFiles::new(&self.path, self.direct),
            commits: self.commits,
            lines: self.lines,
            clock: self.clock,
            shards,
            spin_us,
            next_shard: 0,
            accept_again_us: None,
            deferred: std::collections::VecDeque::new(),
            hot_jobs: crate::hot_jobs::HotJobs::new(),
            last_event_us: 0,
            refusals: crate::refusals::Refusals::default(),
            exit: false,
        };
        shell.run()?;
        tracing::debug!(shard = me, stats = ?shell.reactor.stats(), "shard ended");
        self.all_ended.wait();
        Ok(())
    }
}

impl Threads {
    fn tell(&self, shard: usize, control: Control) {
        let (sender, bell) = &self.controls[shard];
        // A thread that has died is noticed by its handle.
        let _ = sender.send(control);
        bell.force();
    }

    fn tell_all(&self, control: impl Fn() -> Control) {
        (0..self.controls.len()).for_each(|shard| self.tell(shard, control()));
    }

    /// Sleeps until something happens; a signal asks all shards to stop, a second one ends the process.
    fn wait(&mut self, signals: &Signals) -> Result<(), ServeError> {
        if signals.wait(&self.bell) == Waited::Asked {
            if self.stopping {
                tracing::warn!("asked twice: leaving at once");
                std::process::exit(IMPATIENT_EXIT_CODE);
            }
            tracing::info!("stopping");
            self.stopping = true;
            self.tell_all(|| Control::Stop);
        }
        while let Ok((_, report)) = self.reports.try_recv() {
            match report {
                Report::Ready => self.ready += 1,
                Report::Stopped => self.stopped += 1,
            }
        }
        match self.handles.iter().position(JoinHandle::is_finished) {
            None => Ok(()),
            Some(shard) => {
                let reason = match self.handles.swap_remove(shard).join() {
                    Ok(Err(reason)) => reason,
                    Ok(Ok(())) => "its loop returned".to_string(),
                    Err(_) => "it panicked".to_string(),
                };
                Err(ServeError::ShardDied { shard: shard as u16, reason })
            }
        }
    }

    /// Waits until all shards can serve. Returns what their backgrounds were refused.
    fn wait_ready(&mut self, signals: &Signals) -> Result<Option<String>, ServeError> {
        while self.ready < self.controls.len() && !self.stopping {
            self.wait(signals)?;
        }
        let plain = self.kinds.try_iter().find_map(|kind| match kind {
            BackgroundKind::Executor => None,
            BackgroundKind::Plain(reason) => Some(reason),
        });
        Ok(plain.map(|reason| {
            format!("the background executor ({reason}): background work runs one by one; raise ulimit -l to 8 MiB")
        }))
    }

    fn listen(&self, bound: Listeners, backlog: i32) -> Result<Vec<(String, SocketAddr)>, ServeError> {
        let mut addresses = Vec::new();
        let mut sockets = Vec::new();
        for (at, (name, socket)) in bound.into_iter().enumerate() {
            let refuse =
                |error: std::io::Error| ServeError::Listen { address: name.clone(), reason: bind_reason(&error) };
            addresses.push((name.clone(), socket.address().map_err(refuse)?));
            sockets.push((at as u8, socket.listen(backlog.max(BACKLOG_MIN)).map_err(refuse)?));
        }
        self.tell(0, Control::Listen(sockets));
        Ok(addresses)
    }

    fn run(mut self, signals: &Signals) -> Result<(), ServeError> {
        while !self.stopping {
            self.wait(signals)?;
        }
        self.finish(signals)
    }

    /// Waits for all shards to have stopped, and ends their threads.
    fn finish(mut self, signals: &Signals) -> Result<(), ServeError> {
        while self.stopped < self.controls.len() {
            self.wait(signals)?;
        }
        self.tell_all(|| Control::Exit);
        for (shard, handle) in self.handles.drain(..).enumerate() {
            match handle.join() {
                Ok(Ok(())) => {}
                Ok(Err(reason)) => return Err(ServeError::ShardDied { shard: shard as u16, reason }),
                Err(_) => return Err(ServeError::ShardDied { shard: shard as u16, reason: "it panicked".to_string() }),
            }
        }
        tracing::info!("stopped");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_a_killed_broker_still_holds_for_a_moment_is_waited_for() {
        let held = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = held.local_addr().expect("bound");
        let freed = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(100));
            drop(held);
        });
        assert_eq!(Bound::new(address).map(|_| ()).map_err(|error| error.kind()), Err(std::io::ErrorKind::AddrInUse));
        let bound = bind_patiently(address).expect("the port is free after a moment");
        assert_eq!(bound.address().expect("bound"), address);
        freed.join().expect("no panic");
    }

    #[test]
    fn a_flood_of_connections_leaves_descriptors_for_files() {
        assert_eq!(connections_max(20_000, 2), 8_976);
        assert_eq!(connections_max(1024, 2), 256, "half of them at least, if there are few");
        let cached = crate::files::HOT_FILES_MAX + coretide_reactor::fs::OPEN_FILES_MAX;
        assert!(FILES_OF_SHARD as usize > cached + 256, "both caches and what else there is");
    }
}
