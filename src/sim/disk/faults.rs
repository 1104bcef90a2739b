//! What a bad disk does, and the account of what it did.

/// Faults the disk injects, each as a chance of one in so many operations of its kind; 0 = never.
#[derive(Clone, Copy, Debug, Default)]
pub struct DiskFaults {
    /// A write fails with EIO after any of its sectors were written.
    pub write_error_one_in: u64,
    /// A sync fails with EIO and what was pending is dropped, as Linux does.
    pub sync_error_one_in: u64,
    /// A read fails with EIO.
    pub read_error_one_in: u64,
    /// A sync, or a write that asks for durability, succeeds and makes nothing durable.
    pub lie_one_in: u64,
}

impl DiskFaults {
    /// True when operations fail; a lie is no failure that anybody could see.
    pub fn fail(&self) -> bool {
        self.write_error_one_in + self.sync_error_one_in + self.read_error_one_in > 0
    }
}

/// What the disk has done so far, for the judges and the report.
#[derive(Clone, Debug, Default)]
pub struct DiskSins {
    pub write_errors: u64,
    pub sync_errors: u64,
    /// Sectors written before a failed sync and dropped by it.
    pub dropped_sectors: u64,
    pub read_errors: u64,
    /// Operations refused because the disk was full.
    pub refusals: u64,
    /// Writes that a kill or a cut met half-way.
    pub torn_writes: u64,
    /// Unsynced sectors that power cuts took back.
    pub lost_sectors: u64,
    /// Unsynced changes of folders that power cuts took back.
    pub lost_entries: u64,
    /// Syncs that did nothing.
    pub lies: u64,
    /// Sectors, lengths and entries lost although they had been said to be durable.
    pub lost_by_lies: u64,
    pub rotten_bits: u64,
}
