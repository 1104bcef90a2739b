//! A start on a damaged data directory: boot files, checkpoints, journals, segments and indexes. It ends, allocates no more
//! than its files justify, serves what passes for whole, and a second start finds what the first one left.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use coretide_log::batch::VerifiedBatch;
use coretide_log::builder::BatchBuilder;
use coretide_log::codec::Compression;
use coretide_log::io::Durability;
use coretide_log::store::{
    Boot, BootConfig, BootError, BootReport, Extent, LogKey, ReadPlan, Store, StoreJobOutput, StoreLimits, StoreOut,
};
use coretide_model::{Now, TopicId, TopicPartition};

use super::disk::Disk;

const HEADER_BYTES: usize = 64;
const BLOCK_BYTES: usize = 4096;
const LOGS: u32 = 3;

fn limits() -> StoreLimits {
    StoreLimits {
        journal_file_bytes: 64 << 10,
        journal_files_max: 4,
        commit_bytes_max: 16 << 10,
        direct_from_bytes: 8 << 10,
        destage_from_bytes: 12 << 10,
        destage_write_bytes: 16 << 10,
        cache_bytes: 64 << 10,
        checkpoint_every_bytes: 48 << 10,
        ..StoreLimits::default()
    }
}

fn config(random: u64) -> BootConfig {
    let owner = Arc::new(|tp: TopicPartition, shards: u16| (tp.topic_id.0 % u128::from(shards)) as u16);
    BootConfig { shards: 1, owner, random, limits: limits(), vital: None }
}

fn boot(disk: &mut Disk, random: u64) -> Result<BootReport, BootError> {
    disk.job(Boot::new(config(random)))
}

/// A store on a disk that does everything at once.
struct Running<'a> {
    disk: &'a mut Disk,
    store: Store,
    now: Now,
}

impl Running<'_> {
    fn tick(&mut self) {
        for _ in 0..200 {
            let mut out = Vec::new();
            self.now.mono_us += 1000;
            self.store.end_of_tick(self.now, &mut |_| Bytes::from_static(b"aux"), &mut out);
            if out.is_empty() {
                return;
            }
            for one in out {
                match one {
                    StoreOut::Io { id, op } => {
                        let result = self.disk.run(&op);
                        self.store.on_io(self.now, id, result);
                    }
                    StoreOut::Notice(_) => {}
                    StoreOut::Job { id, job } => match self.disk.job(job) {
                        StoreJobOutput::Own(done) => self.store.on_job(self.now, id, done),
                        other => panic!("the store runs no reads itself: {other:?}"),
                    },
                }
            }
        }
    }

    fn append(&mut self, key: LogKey, bytes: usize) {
        let mut builder = BatchBuilder::new(Compression::default()).producer(7, 0, 0);
        builder.push(self.now.wall_ms, None, Some(&vec![b'v'; bytes]), &[]);
        let batch = VerifiedBatch::from_own_records(builder);
        let end = self.store.end_offset(key);
        // A log that a failed write has closed takes nothing, which is all that there is to say here.
        let _ = self.store.stage(key, self.now, &batch, end, 1, Durability::Durable);
    }

    /// Reads a log from its start to its end, as far as it goes.
    fn read(&mut self, key: LogKey) {
        let (mut at, end) = (self.store.log_start_offset(key), self.store.committed_end_offset(key));
        for _ in 0..500 {
            let ready = match self.store.plan_read(key, at, end, 1 << 20, true) {
                ReadPlan::Ready(ready) => ready,
                ReadPlan::Cold(cold) => match self.disk.job(cold.into_job()) {
                    StoreJobOutput::Read(done) => match done.result {
                        Ok(ready) => ready,
                        Err(_) => return,
                    },
                    other => panic!("a read yields what was read: {other:?}"),
                },
                ReadPlan::Empty | ReadPlan::OutOfRange => return,
            };
            assert!(ready.next_offset > at, "a read goes on");
            let bytes: usize = ready.extents.iter().map(Extent::len).sum();
            assert_eq!(bytes, ready.bytes);
            at = ready.next_offset;
        }
    }
}

fn open(disk: &mut Disk, mut report: BootReport) -> (Running<'_>, Vec<LogKey>) {
    let shard = report.shards.pop().expect("one was asked for");
    let (store, found) = Store::open(shard, limits());
    let now = Now { mono_us: 1_000_000, wall_ms: 1_700_000_000_000 };
    (Running { disk, store, now }, found.into_iter().map(|log| log.key).collect())
}

/// Good data directories: one that was killed, one that was stopped.
fn images() -> &'static [Disk; 2] {
    static IMAGES: OnceLock<[Disk; 2]> = OnceLock::new();
    IMAGES.get_or_init(|| {
        [false, true].map(|stopped| {
            let mut disk = Disk::default();
            let report = boot(&mut disk, 11).expect("an empty directory is good");
            let (mut running, _) = open(&mut disk, report);
            let topic = |n: u32| TopicPartition { topic_id: TopicId(u128::from(n) << 64 | 9), partition: n as i32 };
            let keys: Vec<LogKey> =
                (0..LOGS).map(|n| running.store.create_log(topic(n), Arc::from(format!("t{n}-{n}")), 0)).collect();
            for turn in 0..24 {
                for (n, key) in keys.iter().enumerate() {
                    running.append(*key, [100, 3000, 12_000][(turn + n) % 3]);
                }
                running.tick();
            }
            if stopped {
                running.store.begin_stop(running.now);
                running.tick();
            }
            disk
        })
    })
}

/// Makes the checksums of our own files right again, so that what lies behind them is reached.
fn seal(path: &str, bytes: &mut [u8]) {
    let crc = |bytes: &[u8]| crc32c::crc32c(bytes).to_le_bytes();
    let u32_at =
        |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes")) as usize;
    if path.contains("/journal-") {
        let (mut at, mut previous) = (0, None::<[u8; 4]>);
        while let Some(commit) =
            bytes.get_mut(at..).filter(|rest| rest.len() >= HEADER_BYTES && rest.starts_with(b"CTJOURNL"))
        {
            let payload_bytes = u32_at(commit, 32);
            let Some(payload) = commit.get(HEADER_BYTES..HEADER_BYTES.saturating_add(payload_bytes)).map(crc) else {
                return;
            };
            commit[36..40].copy_from_slice(&payload);
            if let Some(previous) = previous {
                commit[40..44].copy_from_slice(&previous);
            }
            let own = crc(&commit[..60]);
            commit[60..64].copy_from_slice(&own);
            previous = Some(own);
            at += (HEADER_BYTES + payload_bytes).div_ceil(BLOCK_BYTES) * BLOCK_BYTES;
        }
    } else if (path.contains("/checkpoint-") || path.contains("/boot-")) && bytes.len() >= HEADER_BYTES {
        let len = u32_at(bytes, 24);
        if let Some(payload) = bytes.get(HEADER_BYTES..HEADER_BYTES.saturating_add(len)).map(crc) {
            bytes[32..36].copy_from_slice(&payload);
        }
        let own = crc(&bytes[..60]);
        bytes[60..64].copy_from_slice(&own);
    }
}

/// The first byte chooses the directory and whether checksums are made right; then damages of five bytes each: file, kind,
/// position (two), value.
pub fn recovery(input: &[u8]) {
    let Some((&choice, rest)) = input.split_first() else { return };
    let mut disk = images()[usize::from(choice & 1)].clone();
    let paths: Vec<String> = disk.files.keys().cloned().collect();
    for damage in rest.chunks_exact(5).take(64) {
        let path = &paths[usize::from(damage[0]) % paths.len()];
        let Some(bytes) = disk.files.get_mut(path) else { continue };
        // Small positions reach every byte of heads, large ones all of the file.
        let position = usize::from(u16::from_le_bytes([damage[2], damage[3]]));
        let at = if damage[1] & 0x80 == 0 { position } else { position * bytes.len().div_ceil(1 << 16) };
        match damage[1] & 7 {
            0..=3 if at < bytes.len() => bytes[at] = damage[4],
            4 if at < bytes.len() => bytes[at] ^= 1 << (damage[4] & 7),
            5 => bytes.truncate(at),
            6 => bytes.resize((bytes.len() + position).min(1 << 20), damage[4]),
            7 => drop(disk.files.remove(path)),
            _ => {}
        }
    }
    if choice & 2 != 0 {
        disk.files.iter_mut().for_each(|(path, bytes)| seal(path, bytes));
    }
    let Ok(report) = boot(&mut disk, 12) else { return };
    let (mut running, keys) = open(&mut disk, report);
    for key in &keys {
        running.read(*key);
        running.append(*key, 5000);
    }
    running.tick();
    let ends: Vec<i64> = keys.iter().map(|key| running.store.committed_end_offset(*key)).collect();
    let report = boot(&mut disk, 13).expect("a start mends what it can, and the next one is not refused");
    let (running, keys) = open(&mut disk, report);
    let again: Vec<i64> = keys.iter().map(|key| running.store.committed_end_offset(*key)).collect();
    assert_eq!(again, ends, "what was acknowledged after the first start is there after the second");
}
