//! The steps, in order: up to the reserve, killed there, room again, wholly full, killed and started there, read-only,
//! and a volume without a reserve.
//! Must never touch: how a volume or a broker works.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::broker::{Broker, Place};
use crate::load::{Load, Put, STORAGE_ERROR, client, connect, create};
use crate::volume::Volume;

/// How long the broker may take to notice that there is room again.
const NOTICE_MAX: Duration = Duration::from_secs(60);
/// Refusals in a row that end the filling.
const REFUSALS: u32 = 50;
/// The topic that fills the volume, and how many partitions it has.
const BULK: (&str, i32) = ("bulk", 4);
/// The topic that is never deleted from.
const KEEP: (&str, i32) = ("keep", 2);
const RECORD_BYTES: usize = 16 << 10;
/// What is held back to be freed after a volume without a reserve is full.
const HELD_MIB: u64 = 16;

/// One round on one volume.
pub struct Run {
    volume: Volume,
    place: Place,
    load: Load,
    committed: i64,
}

impl Run {
    pub fn new(volume: Volume, place: Place) -> Run {
        Run { volume, place, load: Load::default(), committed: 0 }
    }

    /// All steps.
    pub fn all(&mut self) -> Result<(), String> {
        let broker = self.place.start()?;
        let broker = self.up_to_the_reserve(broker)?;
        let broker = self.killed_at_the_reserve(broker)?;
        let broker = self.room_again(broker)?;
        let broker = self.wholly_full(broker)?;
        let broker = self.stopped_while_full(broker)?;
        self.read_only(broker)?;
        self.without_a_reserve()
    }

    fn said(&self, what: &str) -> usize {
        self.place.said().matches(what).count()
    }

    fn verify(&self, step: &str, broker: &Broker) -> Result<(), String> {
        let read = self.load.verify(broker.address())?;
        println!("  {step}: {read} acknowledged records read back, all equal");
        Ok(())
    }

    /// Everything but producing works.
    fn all_else_works(&mut self, broker: &Broker) -> Result<(), String> {
        let mut client = client(broker.address())?;
        self.committed += 1;
        let place = (KEEP.0.to_string(), 0);
        let offsets = BTreeMap::from([(place.clone(), self.committed)]);
        client.commit_as_operator("workers", &offsets).map_err(|error| format!("a commit on a full disk: {error}"))?;
        let found = client.committed("workers", None).map_err(|error| error.to_string())?;
        if found.get(&place).map(|found| found.offset) != Some(self.committed) {
            return Err(format!("committed {} and found {found:?}", self.committed));
        }
        create(&mut client, "passing", 1, &[]).map_err(|error| format!("a topic made on a full disk: {error}"))?;
        client.delete_topic("passing").map_err(|error| format!("a topic deleted on a full disk: {error}"))?;
        // A shard that was idle may look at the volume only seconds later.
        let (mut connection, began) = (connect(broker.address())?, Instant::now());
        loop {
            match self.load.put(&mut connection, KEEP.0, 0, 100)? {
                Put::Refused(STORAGE_ERROR) => return Ok(()),
                Put::Acked if began.elapsed() < NOTICE_MAX => std::thread::sleep(Duration::from_millis(50)),
                other => return Err(format!("a producer on a full disk: {other:?}")),
            }
        }
    }

    fn up_to_the_reserve(&mut self, broker: Broker) -> Result<Broker, String> {
        let address = broker.address();
        let mut admin = client(address)?;
        create(&mut admin, BULK.0, BULK.1, &[])?;
        create(&mut admin, KEEP.0, KEEP.1, &[])?;
        let mut connection = connect(address)?;
        for partition in (0..KEEP.1).cycle().take(200) {
            match self.load.put(&mut connection, KEEP.0, partition, 1000)? {
                Put::Acked => {}
                Put::Refused(code) => return Err(format!("error {code} on an empty volume")),
            }
        }
        let began = Instant::now();
        // Small records on one connection, large ones on three others: through the journal, and past it.
        let bytes = [RECORD_BYTES, 4 * RECORD_BYTES, 500];
        for size in bytes {
            self.load.fill(address, BULK, size, REFUSALS)?;
        }
        let free = self.volume.free_bytes()?;
        println!(
            "  full: {} MiB acknowledged in {:.1} s, then error 56; {} MiB are free",
            self.load.acked_bytes >> 20,
            began.elapsed().as_secs_f64(),
            free >> 20
        );
        if free < 4 << 20 {
            return Err(format!("{free} bytes are free: the refusal came too late"));
        }
        let lines = self.said("the disk is almost full");
        if lines == 0 || lines > 10 {
            return Err(format!("the reserve was logged {lines} times"));
        }
        self.all_else_works(&broker)?;
        self.verify("at the reserve", &broker)?;
        Ok(broker)
    }

    fn killed_at_the_reserve(&mut self, broker: Broker) -> Result<Broker, String> {
        broker.kill()?;
        let broker = self.place.start()?;
        self.verify("after kill -9 at the reserve", &broker)?;
        self.load.fill(broker.address(), BULK, RECORD_BYTES, REFUSALS)?;
        self.all_else_works(&broker)?;
        Ok(broker)
    }

    fn room_again(&mut self, broker: Broker) -> Result<Broker, String> {
        let address = broker.address();
        let before = self.volume.free_bytes()?;
        let mut admin = client(address)?;
        for partition in 0..BULK.1 / 2 {
            self.load.delete_records(&mut admin, BULK.0, partition)?;
        }
        let took = self.load.put_soon(address, KEEP.0, 1000, NOTICE_MAX)?;
        let freed = self.volume.free_bytes()?.saturating_sub(before);
        println!(
            "  records deleted: producers are served after {:.1} s, {} MiB more free",
            took.as_secs_f64(),
            freed >> 20
        );
        // One shard speaks for all, and may look at the volume a moment after the one that let the producer in.
        let began = Instant::now();
        while self.said("the disk has room again") == 0 {
            if began.elapsed() > NOTICE_MAX {
                return Err("room again was not logged".to_string());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        self.load.fill(address, BULK, RECORD_BYTES, REFUSALS)?;
        admin.delete_topic(BULK.0).map_err(|error| format!("deleting a topic on a full disk: {error}"))?;
        self.load.forget(BULK.0);
        let took = self.load.put_soon(address, KEEP.0, 1000, NOTICE_MAX)?;
        println!("  topic deleted: producers are served after {:.1} s", took.as_secs_f64());
        create(&mut admin, BULK.0, BULK.1, &[])?;
        for partition in (0..BULK.1).cycle().take(400) {
            self.load.put(&mut connect(address)?, BULK.0, partition, RECORD_BYTES)?;
        }
        self.verify("with room again", &broker)?;
        Ok(broker)
    }

    /// Somebody else takes the very last block.
    fn wholly_full(&mut self, broker: Broker) -> Result<Broker, String> {
        self.volume.fill(0)?;
        // What is between two looks at the volume may be taken, or must wait; nothing that is taken may be lost.
        let began = Instant::now();
        let mut connection = connect(broker.address())?;
        while began.elapsed() < NOTICE_MAX {
            if self.load.put(&mut connection, BULK.0, 0, 500)? == Put::Refused(STORAGE_ERROR) {
                break;
            }
        }
        self.verify("with 0 bytes free", &broker)?;
        self.all_else_works(&broker)?;
        broker.kill()?;
        let broker = match self.place.start() {
            Ok(broker) => {
                println!("  killed with 0 bytes free: it starts");
                broker
            }
            Err(said) if said.contains("the disk is full") => {
                println!("  killed with 0 bytes free: the start says that the disk is full");
                self.refused_start("the disk is full")?;
                self.volume.clear()?;
                self.place.start()?
            }
            Err(said) => return Err(said),
        };
        self.verify("after kill -9 with 0 bytes free", &broker)?;
        if self.volume.clear().is_ok() {
            println!("  room given back while it runs");
        }
        let took = self.load.put_soon(broker.address(), KEEP.0, 1000, NOTICE_MAX)?;
        println!("  room: producers are served after {:.1} s", took.as_secs_f64());
        Ok(broker)
    }

    fn stopped_while_full(&mut self, broker: Broker) -> Result<Broker, String> {
        for partition in (0..BULK.1).cycle().take(100) {
            self.load.put(&mut connect(broker.address())?, BULK.0, partition, 700)?;
        }
        self.volume.fill(0)?;
        broker.stop()?;
        self.volume.clear()?;
        let broker = self.place.start()?;
        self.verify("after a stop with 0 bytes free", &broker)?;
        Ok(broker)
    }

    /// It must not start, must say why, and must leave everything as it is.
    fn refused_start(&self, word: &str) -> Result<(), String> {
        let (said, status) = self.place.start_in_vain()?;
        if status.code() == Some(1) && said.contains(word) {
            println!("  a start is refused: {}", said.lines().last().unwrap_or_default());
            return Ok(());
        }
        Err(format!("a start that must be refused for \"{word}\" ended with {status}: {said}"))
    }

    fn read_only(&mut self, broker: Broker) -> Result<(), String> {
        broker.stop()?;
        self.volume.remount("ro")?;
        self.refused_start("read-only")?;
        self.volume.remount("rw")?;
        let broker = self.place.start()?;
        self.verify("after a start on a read-only volume", &broker)?;
        broker.kill()
    }

    /// Only the kernel says that the disk is full.
    fn without_a_reserve(&mut self) -> Result<(), String> {
        self.place.overrides.push("coretide.disk.reserve.bytes=0".to_string());
        self.volume.hold(HELD_MIB)?;
        let broker = self.place.start()?;
        let taken = self.load.fill(broker.address(), BULK, RECORD_BYTES, REFUSALS)?;
        println!(
            "  without a reserve: {taken} batches, then error 56; {} KiB are free",
            self.volume.free_bytes()? >> 10
        );
        self.verify("without a reserve", &broker)?;
        broker.kill()?;
        if self.volume.free_bytes()? == 0 {
            self.refused_start("the disk is full")?;
        }
        self.volume.clear()?;
        let broker = self.place.start()?;
        self.verify("after kill -9 without a reserve", &broker)?;
        let mut admin = client(broker.address())?;
        self.load.delete_records(&mut admin, BULK.0, 0)?;
        let took = self.load.put_soon(broker.address(), KEEP.0, 1000, NOTICE_MAX)?;
        println!("  records deleted: producers are served after {:.1} s", took.as_secs_f64());
        self.verify("at the end", &broker)?;
        broker.stop()
    }
}
