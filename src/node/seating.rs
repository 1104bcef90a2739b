//! How many shards there are, and on which cores their threads run.
//! Must never touch: the threads themselves.

use std::num::NonZeroU16;

/// Where everything runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seating {
    /// How many shards.
    pub(crate) shards: u16,
    /// The core of each shard's hot thread; empty: not pinned.
    pub(crate) hot: Vec<usize>,
    /// Whether a shard's background threads keep to its core. Where a core is left over they run on any.
    pub(crate) background_stays: bool,
}

impl Seating {
    /// Of as many shards as are `wanted`, or one for each of the `cores` that the process may run on.
    pub(crate) fn of(wanted: Option<NonZeroU16>, pin: bool, cores: &[usize]) -> Seating {
        let shards = wanted.map_or_else(|| suitable(cores.len()), NonZeroU16::get);
        let hot = match pin && !cores.is_empty() {
            true => cores.iter().copied().cycle().take(shards as usize).collect(),
            false => Vec::new(),
        };
        Seating { shards, hot, background_stays: usize::from(shards) >= cores.len() }
    }
}

fn suitable(cores: usize) -> u16 {
    u16::try_from(cores.max(1)).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seating(wanted: u16, pin: bool, cores: &[usize]) -> (u16, Vec<usize>, bool) {
        let Seating { shards, hot, background_stays } = Seating::of(NonZeroU16::new(wanted), pin, cores);
        (shards, hot, background_stays)
    }

    #[test]
    fn there_is_a_shard_for_each_core() {
        assert_eq!(seating(0, true, &[]), (1, vec![], true));
        assert_eq!(seating(0, true, &[3]), (1, vec![3], true));
        assert_eq!(seating(0, true, &[0, 1]), (2, vec![0, 1], true));
        assert_eq!(seating(0, true, &[0, 2, 5]), (3, vec![0, 2, 5], true));
        assert_eq!(seating(0, true, &[0, 1, 2, 3]), (4, vec![0, 1, 2, 3], true));
    }

    #[test]
    fn as_many_shards_as_are_wanted_share_the_cores_in_turn() {
        assert_eq!(seating(1, true, &[0, 1]), (1, vec![0], false));
        assert_eq!(seating(3, true, &[4, 7]), (3, vec![4, 7, 4], true));
        assert_eq!(seating(2, true, &[0, 1, 2]), (2, vec![0, 1], false));
        assert_eq!(seating(2, false, &[0, 1, 2]), (2, vec![], false));
    }
}
