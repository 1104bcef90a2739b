//! Our own broker keys. They start with `coretide.`; those that are not defaults of topics are read at start only. Rows
//! are sorted.
//! Must not touch: parsing, resolution.

use crate::config::key::Importance::{High, Low, Medium};
use crate::config::key::Rule::{Any, AtLeast, Between, NonEmpty, OneOf};
use crate::config::key::ValueType::{Boolean, Int, Long, String};
use crate::config::key::{Key, key};

#[rustfmt::skip]
pub(super) static KEYS: &[Key] = &[
    key("coretide.compressed.check", String, Some("records"), OneOf(&["records", "header"]), Medium).dynamic()
        .doc("Of compressed batches every record is checked, or only checksum and header, for topics without a setting of their own."),
    key("coretide.data.dir", String, Some("./data"), NonEmpty, High)
        .doc("Folder of all data, unless log.dirs or log.dir name another one."),
    key("coretide.destage.from.bytes", Long, Some("1048576"), Between(4096, 1073741824), Low)
        .doc("Bytes that gather in memory for a partition before they are moved from the journal to its segment."),
    key("coretide.direct.from.bytes", Int, Some("65536"), Between(4096, 16777216), Low)
        .doc("Bytes pending for one partition from which whole blocks go straight to its segment, past the journal."),
    key("coretide.disk.check.interval.ms", Int, Some("1000"), Between(10, 3600000), Low)
        .doc("Milliseconds between two looks at the free space of the data volume, while something is written to it."),
    key("coretide.disk.reserve.bytes", Long, Some("-1"), AtLeast(-1), Medium)
        .doc("Free bytes that producers may not use up, so that deletes and commits go on; -1: 5 % or 1 GiB, a tenth at most."),
    key("coretide.fetch.cold.mode", String, Some("auto"), OneOf(&["auto", "splice", "direct"]), Low)
        .doc("How data that left memory reaches a consumer: spliced from the file, read directly, or chosen."),
    key("coretide.journal.file.bytes", Long, Some("8388608"), Between(1048576, 4294967296), Medium)
        .doc("Size of one journal file; it is written once in full and then used over and over."),
    key("coretide.journal.files.max", Int, Some("32"), Between(2, 1024), Medium)
        .doc("Most journal files of one shard; when all are in use, appends wait for the move to segments."),
    key("coretide.max.partitions", Int, Some("100000"), Between(1, 10000000), Medium)
        .doc("Most partitions of all topics together; creating more is refused."),
    key("coretide.max.topics", Int, Some("50000"), Between(1, 10000000), Medium)
        .doc("Most topics; creating more is refused."),
    key("coretide.pin.cores", Boolean, Some("true"), Any, Medium)
        .doc("Whether each shard's threads are bound to one core."),
    key("coretide.poll.idle.us", Int, Some("0"), Between(0, 1000000), Medium)
        .doc("Microseconds that an idle shard looks for work before it sleeps: a busy core, but faster answers."),
    key("coretide.shard.cache.bytes", Long, Some("67108864"), Between(1048576, 1099511627776), Medium)
        .doc("Memory of one shard for the newest records; consumers that lag no further read nothing from the disk."),
    key("coretide.shard.memory.bytes", Long, Some("268435456"), Between(16777216, 1099511627776), High)
        .doc("Memory of one shard for requests, responses, unwritten records; when spent, sockets are not read."),
    key("coretide.shards", Int, Some("0"), Between(0, 1024), High)
        .doc("Number of shards, each with a core of its own; 0 makes one per core."),
];
