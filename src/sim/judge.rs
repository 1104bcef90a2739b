//! The judges: what must hold whatever happens, seen only from what clients sent and got. They share no code with the broker.

mod group;
mod layout;
mod log;
mod membership;
mod memory;

pub use group::{CommitToken, GroupJudge};
pub use layout::check_layout;
pub use log::{LogJudge, PartitionName, Promise};
pub use membership::{Claim, Joined, MembershipJudge};
pub use memory::MemoryJudge;

/// A promise that was broken, in words that name the evidence.
pub type Verdict = Result<(), String>;
