//! The shard: events in, outputs out. What it owns, and the turn. Must never touch: clocks, IO, other shards.

use std::collections::{BTreeMap, VecDeque};

use coretide_controller::Image;
use coretide_log::batch::Verifier;
use coretide_log::store::{ShardRecovered, StoreJobOutput, StoreOut};
use coretide_metrics::ShardMetrics;
use coretide_model::{ConnId, Now, ShardId, TopicPartition};

use crate::admission::Admissions;
use crate::boot::Phase;
use crate::config::{IDLE_SCAN_US, ShardConfig};
use crate::connections::Memory;
use crate::event::{Event, Output};
use crate::handlers::{fetch, init_producer_id, produce};
use crate::logs::Logs;
use crate::machines::controller::ControllerHost;
use crate::machines::groups::GroupHost;
use crate::mail::{Asker, Mail};
use crate::pending::PendingTable;
use crate::placement;
use crate::session::Session;
use crate::timers::{Timer, Timers};

/// One core's whole brain.
pub struct Shard {
    pub(crate) config: ShardConfig,
    /// The moment of the event in hand.
    pub(crate) now: Now,
    /// The cluster's state as this shard knows it: durable deltas, applied in order.
    pub(crate) image: Image,
    pub(crate) metrics: ShardMetrics,
    pub(crate) phase: Phase,
    /// How many shards have no requests in progress any more, while stopping.
    pub(crate) drained_shards: u16,
    pub(crate) out: Vec<Output>,
    pub(crate) sessions: BTreeMap<ConnId, Session>,
    /// Connections whose next request may be able to begin.
    pub(crate) dirty: Vec<ConnId>,
    /// Connections whose responses wait for more; a timer is set while there are any.
    pub(crate) held: Vec<ConnId>,
    pub(crate) memory: Memory,
    pub(crate) admissions: Admissions,
    pub(crate) pending: PendingTable,
    pub(crate) timers: Timers,
    /// Mail to ourselves, handled before the event is over.
    pub(crate) own_mail: VecDeque<Mail>,
    /// The partitions that this shard owns.
    pub(crate) logs: Logs,
    /// On shard 0.
    pub(crate) controller: Option<ControllerHost>,
    /// The coordinators of the partitions of `__consumer_offsets` that this shard owns.
    pub(crate) groups: GroupHost,
    pub(crate) verifier: Verifier,
    pub(crate) produce_scan: produce::Scan,
    /// Produce requests with batches that unpack to much.
    pub(crate) unpacking: produce::Unpacking,
    pub(crate) fetch_sessions: fetch::FetchSessions,
    pub(crate) producer_ids: init_producer_id::ProducerIds,
    store_out: Vec<StoreOut>,
}

impl Shard {
    /// A shard with what recovery found. It begins to work when it is first called and says
    /// [`Output::Ready`] when it can serve.
    pub fn new(config: ShardConfig, recovered: ShardRecovered) -> Shard {
        let broker = &config.broker;
        let cache_slots = broker.network.max_incremental_fetch_session_cache_slots.div_ceil(usize::from(config.shards));
        Shard {
            now: Now { mono_us: 0, wall_ms: 0 },
            image: Image::new((**broker).clone()),
            metrics: ShardMetrics::default(),
            phase: Phase::Born,
            drained_shards: 0,
            out: Vec::new(),
            sessions: BTreeMap::new(),
            dirty: Vec::new(),
            held: Vec::new(),
            memory: Memory::new(broker),
            admissions: Admissions::default(),
            pending: PendingTable::default(),
            timers: Timers::default(),
            own_mail: VecDeque::new(),
            logs: Logs::open(&config, recovered),
            controller: ControllerHost::new(&config),
            groups: GroupHost::new(&config),
            verifier: Verifier::default(),
            produce_scan: produce::Scan::default(),
            unpacking: produce::Unpacking::default(),
            fetch_sessions: fetch::FetchSessions::new(cache_slots, config.seed),
            producer_ids: init_producer_id::ProducerIds::default(),
            store_out: Vec::new(),
            config,
        }
    }

    /// Handles one event. Outputs are appended to `out`.
    pub fn handle(&mut self, now: Now, event: Event, out: &mut Vec<Output>) {
        self.now = now;
        std::mem::swap(&mut self.out, out);
        self.start();
        match event {
            Event::Frame { conn, bytes } => self.on_frame(conn, bytes),
            Event::Sent { conn, bytes } => self.on_sent(conn, bytes),
            Event::Opened { conn, listener, peer } => self.on_opened(conn, listener, peer),
            Event::Closed { conn } => self.on_closed(conn),
            Event::IoDone { id, result } => self.logs.store.on_io(now, id, result),
            Event::JobDone { id, output } => match *output {
                StoreJobOutput::Own(done) => self.logs.store.on_job(now, id, done),
                output => self.on_read_job(id, output),
            },
            Event::Mail { from, mail } => self.on_mail(from, mail),
            Event::Tick => {}
            Event::Stop => self.on_stop(),
        }
        self.settle();
        std::mem::swap(&mut self.out, out);
    }

    /// Ends a turn of the driver's loop, after all events that had arrived: timers, acks and wake-ups of what has become
    /// durable, the next commit.
    pub fn end_of_tick(&mut self, now: Now, out: &mut Vec<Output>) {
        self.now = now;
        std::mem::swap(&mut self.out, out);
        self.start();
        while let Some(timer) = self.timers.pop_due(now.mono_us) {
            self.on_timer(timer);
        }
        self.release_committed();
        self.settle();
        self.on_quiet();
        self.settle();
        self.commit();
        self.on_stopped();
        std::mem::swap(&mut self.out, out);
    }

    /// When [`Shard::end_of_tick`] wants to be called at the latest, in microseconds of the monotonic clock.
    pub fn next_deadline_us(&self) -> Option<u64> {
        if self.phase == Phase::Born {
            return Some(0);
        }
        let deadlines = [self.timers.next_us(), self.logs.store.next_deadline()];
        deadlines.into_iter().flatten().min()
    }

    /// True while an [`Output::Io`] is on its way whose [`Event::IoDone`] is a matter of microseconds.
    pub fn is_in_brief_commit(&self) -> bool {
        self.logs.store.is_in_brief_commit()
    }

    /// The counters so far.
    pub fn metrics(&self) -> &ShardMetrics {
        &self.metrics
    }

    /// Mail to ourselves and connections that may go on, until there is neither.
    fn settle(&mut self) {
        loop {
            if let Some(mail) = self.own_mail.pop_front() {
                self.on_mail(self.config.shard, mail);
            } else if let Some((ticket, result)) = self.logs.take_internal() {
                self.on_internal(ticket, result);
            } else if let Some(conn) = self.dirty.pop() {
                self.pump(conn);
            } else {
                return;
            }
        }
    }

    /// Hands the store's wishes on.
    fn commit(&mut self) {
        let mut wishes = std::mem::take(&mut self.store_out);
        self.logs.end_of_tick(self.now, &mut wishes);
        self.out.extend(wishes.drain(..).map(|wish| match wish {
            StoreOut::Io { id, op } => Output::Io { id, op },
            StoreOut::Job { id, job } => Output::Job { id, job },
            StoreOut::Notice(notice) => Output::Notice(notice),
        }));
        self.store_out = wishes;
    }

    fn on_timer(&mut self, timer: Timer) {
        match timer {
            Timer::Request(id) => self.on_request_deadline(id),
            Timer::IdleScan => {
                self.close_idle();
                self.timers.insert(self.now.mono_us + IDLE_SCAN_US, Timer::IdleScan);
            }
            Timer::SlowScan => self.close_slow(),
            Timer::HeldResponses => self.send_held(),
            Timer::ProduceScan => produce::expire(self),
            Timer::Retention => {
                let broker = self.image.broker();
                let interval_ms = broker.log_retention_check_interval_ms.max(1) as u64;
                self.logs.retain(self.now, broker.producer_id_expiration_ms);
                self.timers.insert(self.now.after_ms(interval_ms), Timer::Retention);
            }
            Timer::Groups => self.on_groups_timer(),
            Timer::StopGrace => self.stop_waiting(),
        }
    }

    /// Sends mail; to ourselves by a queue that is emptied before the event is over.
    pub(crate) fn send(&mut self, to: ShardId, mail: Mail) {
        if to == self.config.shard {
            self.own_mail.push_back(mail);
        } else {
            self.metrics.mail_sent += 1;
            self.out.push(Output::Mail { to, mail });
        }
    }

    /// Takes mail to whom it is for. Questions are answered, and late answers dropped, whatever state we are in.
    fn on_mail(&mut self, from: ShardId, mail: Mail) {
        match mail {
            Mail::Append { id, items } => self.on_append(from, id, items),
            Mail::Appended { id, results } => produce::on_appended(self, id, results),
            Mail::Read { id, ask } => self.on_read(from, id, *ask),
            Mail::ReadDone { id, done } => fetch::on_read_done(self, from, id, *done),
            Mail::Woken { id } => fetch::on_woken(self, id),
            Mail::Unwatch { id } => self.logs.unwatch(from, id),
            Mail::Ask { id, place, ask } => self.on_ask(Asker { shard: from, id, place }, *ask),
            Mail::Answer { id, place, answer } => self.on_answer(id, place, *answer),
            Mail::Delta(delta) => self.apply(&delta),
            Mail::Applied { revision } => self.on_applied(from, revision),
            Mail::Admit { conn, ip } => self.on_admit(from, conn, ip),
            Mail::Admitted { conn, ip, refusal } => self.on_admitted(conn, ip, refusal),
            Mail::Left { ip } => self.on_left(from, ip),
            Mail::Present { present } => self.on_present(from, &present),
            Mail::Drained => self.on_drained(),
        }
    }

    /// Which shard owns a partition.
    pub(crate) fn owner(&self, tp: TopicPartition) -> ShardId {
        placement::owner(tp, self.config.shards)
    }
}
