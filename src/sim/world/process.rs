//! The run's broker process: starts, turns, disk, mail, ends.

use std::sync::Arc;

use coretide_log::io::Op;
use coretide_log::store::{Boot, BootConfig, BootError, BootReport, Extent};
use coretide_model::{BrokerConfig, ShardId};
use coretide_shard::config::store_limits;
use coretide_shard::{Event, Output, Response, Shard, ShardConfig, placement};

use super::{Item, Phase, World};
use crate::broker::Host;
use crate::coverage::name_of;
use crate::disk::CutMode;
use crate::job::JobRun;
use crate::judge::{Verdict, check_layout};
use crate::plan::End;

/// Inbox events that one turn takes at most.
const TURN_EVENTS_MAX: u64 = 32;

impl World {
    pub(super) fn start(&mut self) -> Verdict {
        let place = (self.starts as usize).min(self.plan.shards.len() - 1);
        let shards = self.plan.shards[place];
        if self.starts > 0 && self.plan.shards[place.saturating_sub(1)] != shards {
            self.cover(|coverage| coverage.note("end", "another number of shards"));
        }
        self.starts += 1;
        let config = BootConfig {
            shards,
            owner: Arc::new(|tp, shards| placement::owner(tp, shards).0),
            random: self.prng.next_u64(),
            limits: store_limits(&self.config()),
            vital: Some(placement::METADATA_PARTITION),
        };
        let (run, output) = JobRun::begin(Boot::new(config));
        self.broker.boot = Some(run);
        self.booted(output)
    }

    /// The broker's configuration; the store's limits follow from it.
    fn config(&self) -> BrokerConfig {
        let mut broker = BrokerConfig::default();
        broker.groups.group_initial_rebalance_delay_ms = 200;
        broker.groups.offsets_topic_num_partitions = 4;
        broker.log_retention_check_interval_ms = 700;
        broker.engine.journal_file_bytes = 512 << 10;
        let limits = self.plan.limits;
        if let Some(connections) = limits.connections {
            broker.network.max_connections = connections;
            broker.network.connections_max_idle_ms = 3000;
        }
        if let Some(per_ip) = limits.connections_per_ip {
            broker.network.max_connections_per_ip = per_ip;
            broker.network.connections_max_idle_ms = 3000;
        }
        if let Some(size) = limits.group_size {
            broker.groups.group_max_size = size;
        }
        if let Some(bytes) = limits.memory_bytes {
            broker.engine.shard_memory_bytes = bytes;
            broker.engine.shard_cache_bytes = bytes / 8;
        }
        broker.topics.delete_topic_enable = !limits.deletes_disabled;
        if self.plan.small_store {
            broker.engine.journal_file_bytes = 128 << 10;
            broker.engine.journal_files_max = 6;
            broker.engine.direct_from_bytes = 16 << 10;
            broker.engine.destage_from_bytes = 16 << 10;
            broker.engine.shard_cache_bytes = 32 << 10;
            broker.network.max_incremental_fetch_session_cache_slots = 2;
            broker.network.connections_max_idle_ms = 3000;
        }
        broker
    }

    pub(super) fn boot_op(&mut self) -> Verdict {
        let Some(boot) = &mut self.broker.boot else { return Ok(()) };
        if let (Some(coverage), Some(op)) = (&mut self.coverage, boot.in_flight()) {
            coverage.op("disk", op);
        }
        let output = boot.execute_one(&mut self.disk);
        self.booted(output)
    }

    fn booted(&mut self, output: Option<Result<BootReport, BootError>>) -> Verdict {
        let Some(output) = output else {
            let life = self.broker.life;
            let us = 10 + self.prng.below(190);
            let op = self.broker.boot.as_ref().and_then(|boot| boot.in_flight().cloned());
            op.iter().for_each(|op| self.meet(op, us));
            self.at(self.now_us + us, Item::BootOp { life });
            return Ok(());
        };
        self.broker.boot = None;
        let report = match output {
            Ok(report) => report,
            Err(BootError::Io(_)) if self.disk.has_faults() => {
                // Whoever runs it tries again.
                self.die()?;
                return Ok(());
            }
            Err(error) => return Err(format!("L8: the broker does not start: {error}")),
        };
        if self.stopped_cleanly && !report.clean {
            return Err(format!("a clean stop was not found clean: {:?}", report.notes));
        }
        self.stopped_cleanly = false;
        let shards = report.shards.len() as u16;
        let broker = Arc::new(self.config());
        for recovered in report.shards {
            let config = ShardConfig {
                shard: ShardId(recovered.shard),
                shards,
                broker: Arc::clone(&broker),
                cluster_id: Arc::from("c2ltdWxhdGlvbi1jbHVzdA"),
                seed: self.prng.next_u64(),
            };
            let shard = Shard::new(config, recovered);
            let turn_us = 1 + self.prng.below(40);
            self.broker.hosts.push(Host::new(shard, turn_us));
        }
        for host in 0..self.broker.hosts.len() {
            self.schedule_turn(host, self.now_us);
        }
        Ok(())
    }

    /// Puts an event into a shard's inbox; void while the process is down.
    pub(super) fn tell(&mut self, host: usize, event: Event) {
        if let Some(there) = self.broker.hosts.get_mut(host) {
            if let Some(coverage) = &mut self.coverage {
                coverage.variant("event", &event);
                if let Event::Mail { mail, .. } = &event {
                    coverage.variant("mail", mail);
                }
            }
            there.inbox.push_back(event);
            self.schedule_turn(host, self.now_us);
        }
    }

    fn schedule_turn(&mut self, host: usize, at_us: u64) {
        let there = &mut self.broker.hosts[host];
        let at_us = at_us.max(there.busy_until_us).max(self.now_us);
        if there.turn_at_us.is_none_or(|scheduled| at_us < scheduled) {
            there.turn_at_us = Some(at_us);
            let life = self.broker.life;
            self.at(at_us, Item::Turn { life, host });
        }
    }

    pub(super) fn turn(&mut self, host: usize) -> Verdict {
        let now = self.now();
        let there = &mut self.broker.hosts[host];
        // A turn that was moved forward leaves its first date behind.
        if there.turn_at_us != Some(self.now_us) {
            return Ok(());
        }
        there.turn_at_us = None;
        let mut out = std::mem::take(&mut self.outbox);
        let most = 1 + self.prng.below(TURN_EVENTS_MAX);
        let mut taken = 0;
        while taken < most
            && let Some(event) = there.inbox.pop_front()
        {
            match &event {
                Event::Frame { conn, bytes } => there.memory.got(conn.0, bytes.len() as u64),
                Event::Sent { conn, bytes } => there.memory.taken(conn.0, *bytes),
                Event::Closed { conn } => there.memory.closed(conn.0, now.mono_us),
                _ => {}
            }
            there.shard.handle(now, event, &mut out);
            taken += 1;
        }
        if taken == 0 && there.shard.next_deadline_us().is_some_and(|at_us| at_us <= self.now_us) {
            there.shard.handle(now, Event::Tick, &mut out);
            if let Some(coverage) = &mut self.coverage {
                coverage.note("event", "Tick");
            }
        }
        there.shard.end_of_tick(now, &mut out);
        let pauses = self.plan.pause_one_in > 0 && self.prng.chance(1, self.plan.pause_one_in);
        if let Some(coverage) = &mut self.coverage {
            coverage.count("fault", "core taken away", u64::from(pauses));
        }
        let pause_us = if pauses { self.prng.below(500_000) } else { 0 };
        there.busy_until_us = self.now_us + there.turn_us + taken + pause_us;
        self.trace.note(self.now_us, b't', host as u64, &[taken as u8]);
        let life = self.broker.life;
        for output in out.drain(..) {
            self.do_output(host, output)?;
            if self.broker.life != life {
                break;
            }
        }
        self.outbox = out;
        if self.broker.life == life {
            let there = &mut self.broker.hosts[host];
            let memory = there.shard.request_memory();
            let held_bytes = (memory.used_bytes, memory.ready_bytes);
            there
                .memory
                .holds(held_bytes, memory.limit_bytes, now.mono_us)
                .map_err(|what| format!("shard {host}: {what}"))?;
            let there = &self.broker.hosts[host];
            if !there.inbox.is_empty() {
                self.schedule_turn(host, self.now_us);
            } else if let Some(at_us) = there.shard.next_deadline_us() {
                self.schedule_turn(host, at_us);
            }
        }
        Ok(())
    }

    fn do_output(&mut self, host: usize, output: Output) -> Verdict {
        let life = self.broker.life;
        self.cover(|coverage| coverage.variant("output", &output));
        match output {
            Output::Send { conn, response } => {
                self.broker.hosts[host].memory.answered(conn.0, response.bytes);
                self.send_response(conn.0, &response)?;
            }
            Output::Close { conn } => {
                if let Some(open) = self.conns.get_mut(&conn.0) {
                    open.closing = true;
                    self.deliver_to_client(conn.0);
                }
            }
            Output::PauseRead { conn } => {
                self.broker.hosts[host].memory.paused(conn.0, true);
                if let Some(open) = self.conns.get_mut(&conn.0) {
                    open.paused = true;
                }
            }
            Output::ResumeRead { conn } => {
                self.broker.hosts[host].memory.paused(conn.0, false);
                if let Some(open) = self.conns.get_mut(&conn.0) {
                    open.paused = false;
                    self.deliver_to_server(conn.0);
                }
            }
            Output::Mail { to, mail } => {
                let delay_us = 1 + self.prng.below(60);
                let there = &mut self.broker.hosts[host];
                let (lane, last_us) = there.lanes.entry(to.index()).or_default();
                lane.push_back(mail);
                *last_us = (*last_us).max(self.now_us + delay_us);
                let at_us = *last_us;
                self.at(at_us, Item::Mail { life, from: host, to: to.index() });
            }
            Output::Io { id, op } => {
                let delay_us = self.disk_us(&op);
                self.broker.hosts[host].ios.insert(id, op);
                self.at(self.now_us + delay_us, Item::Io { life, host, id });
            }
            Output::Job { id, job } => {
                let (run, output) = JobRun::begin(job);
                match output {
                    Some(output) => self.tell(host, Event::JobDone { id, output: Box::new(output) }),
                    None => {
                        self.broker.hosts[host].jobs.insert(id, run);
                        self.schedule_job(host, id);
                    }
                }
            }
            Output::Fatal { reason } => {
                // The process ends; with a healthy disk there is no reason to.
                if !self.disk.has_faults() {
                    return Err(format!("shard {host} gives up: {reason}"));
                }
                self.die()?;
            }
            Output::Notice(_) => {}
            Output::Ready => self.broker.hosts[host].ready = true,
            Output::Stopped => {
                self.broker.hosts[host].stopped = true;
                if self.broker.hosts.iter().all(|host| host.stopped) {
                    self.stopped()?;
                }
            }
        }
        Ok(())
    }

    fn send_response(&mut self, id: u64, response: &Response) -> Verdict {
        if !self.conns.contains_key(&id) {
            return Ok(());
        }
        let mut bytes = Vec::with_capacity(response.bytes as usize);
        for extent in &response.extents {
            match extent {
                Extent::Hot(hot) => bytes.extend_from_slice(hot),
                Extent::File { file, at, len } => {
                    let read = Op::Read { file: file.clone(), at: *at, len: *len, direct: false };
                    let data = match self.disk.execute(&read) {
                        Ok(coretide_log::io::OpOk::Data(data)) if data.len() == *len as usize => data,
                        Err(_) if self.disk.has_faults() => {
                            // The kernel's splice fails in the middle of a response: the connection is of no use any more.
                            self.break_conn(id);
                            return Ok(());
                        }
                        other => return Err(format!("splice of {} bytes at {at} of {}: {other:?}", len, file.path())),
                    };
                    bytes.extend_from_slice(&data);
                }
            }
        }
        if bytes.len() as u64 != response.bytes {
            return Err(format!("a response says it has {} bytes and has {}", response.bytes, bytes.len()));
        }
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.to_client.extend_from_slice(&bytes);
            self.deliver_to_client(id);
        }
        Ok(())
    }

    pub(super) fn io_done(&mut self, host: usize, id: u64) -> Verdict {
        let op = self.broker.hosts[host].ios.remove(&id).expect("scheduled once");
        self.cover(|coverage| coverage.op("disk", &op));
        let result = self.disk.execute(&op);
        self.trace.note(self.now_us, b'i', id, &[u8::from(result.is_ok())]);
        self.tell(host, Event::IoDone { id, result });
        Ok(())
    }

    fn schedule_job(&mut self, host: usize, id: u64) {
        let life = self.broker.life;
        let op = self.broker.hosts[host].jobs[&id].in_flight().cloned();
        let delay_us = op.map_or(0, |op| self.disk_us(&op));
        self.at(self.now_us + delay_us, Item::JobOp { life, host, id });
    }

    pub(super) fn job_op(&mut self, host: usize, id: u64) -> Verdict {
        let job = self.broker.hosts[host].jobs.get_mut(&id).expect("scheduled while it runs");
        if let (Some(coverage), Some(op)) = (&mut self.coverage, job.in_flight()) {
            coverage.op("disk", op);
        }
        match job.execute_one(&mut self.disk) {
            None => self.schedule_job(host, id),
            Some(output) => {
                self.broker.hosts[host].jobs.remove(&id);
                self.trace.note(self.now_us, b'j', id, &[]);
                self.tell(host, Event::JobDone { id, output: Box::new(output) });
            }
        }
        Ok(())
    }

    /// Ends the process while this operation, which takes so long, is in flight, if an end waits for one of its kind.
    fn meet(&mut self, op: &Op, us: u64) {
        if let Some((wanted, end)) = self.armed
            && self.phase == Phase::Working
            && name_of(op) == wanted
        {
            self.armed = None;
            let after_us = self.prng.below(us.max(1));
            self.at(self.now_us + after_us, Item::End(end));
        }
    }

    fn disk_us(&mut self, op: &Op) -> u64 {
        let (least, most) = match op {
            Op::Sync { .. } | Op::SyncDir { .. } => (50, 3000),
            Op::Write { .. } => (20, 400),
            _ => (5, 200),
        };
        let stalls = self.plan.slow_disk_one_in > 0 && self.prng.chance(1, self.plan.slow_disk_one_in);
        let stall_us = if stalls { self.prng.below(60_000) } else { 0 };
        let us = (least + self.prng.below(most - least)) * self.plan.disk_factor + stall_us;
        self.meet(op, us);
        us
    }

    pub(super) fn mail_arrives(&mut self, from: usize, to: usize) -> Verdict {
        let lane = self.broker.hosts[from].lanes.get_mut(&to);
        let mail = lane.and_then(|(lane, _)| lane.pop_front()).expect("one item a letter");
        self.tell(to, Event::Mail { from: ShardId(from as u16), mail });
        Ok(())
    }

    /// The broker's process ends in the way of the plan.
    pub(super) fn end(&mut self, end: End) -> Verdict {
        self.cover_end(end);
        match end {
            // Over a disk with faults a stop may never come to its end.
            End::CleanStop if self.broker.is_up() && !self.disk.has_faults() => {
                self.begin_stop();
                Ok(())
            }
            End::CleanStop | End::Kill => {
                let in_flight = self.broker.in_flight();
                self.disk.kill(&in_flight);
                self.die()
            }
            End::PowerCut(mode) => {
                let in_flight = self.broker.in_flight();
                self.disk.power_cut(&in_flight, mode);
                self.die()
            }
        }
    }

    pub(super) fn begin_stop(&mut self) {
        self.broker.stopping = true;
        self.refusals_before_stop = self.disk.sins().refusals;
        for host in 0..self.broker.hosts.len() {
            self.tell(host, Event::Stop);
        }
    }

    /// A clean stop is complete: what it left must survive even a power cut.
    fn stopped(&mut self) -> Verdict {
        self.disk.power_cut(&[], CutMode::LoseAll);
        check_layout(&self.disk.files())?;
        self.die()?;
        // A stop for which the disk had no room leaves something to replay.
        self.stopped_cleanly = self.disk.sins().refusals == self.refusals_before_stop;
        Ok(())
    }

    fn die(&mut self) -> Verdict {
        self.stopped_cleanly = false;
        self.cover_life();
        self.broker.life += 1;
        self.broker.boot = None;
        self.broker.stopping = false;
        self.broker.hosts.clear();
        self.trace.note(self.now_us, b'd', u64::from(self.broker.life), &[]);
        let open: Vec<u64> = self.conns.keys().copied().collect();
        for id in open {
            // What the kernel had taken may still arrive: acks, last of all.
            if self.prng.chance(1, 2) {
                self.last_words(id)?;
            }
            self.break_conn(id);
        }
        self.shared.members.broker_died();
        let life = self.broker.life;
        let most_us = if self.phase == Phase::Working { 300_000 } else { 1000 };
        self.after(1000, most_us, Item::Start { life });
        Ok(())
    }
}
