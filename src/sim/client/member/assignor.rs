//! What the members of a simulated group say of themselves and how their leader divides the partitions. The broker must not
//! look into any of it. Must never touch: the protocol around it.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::judge::PartitionName;

/// How a group rebalances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Everybody gives up everything first.
    Eager,
    /// Everybody goes on with what it has, and gives up afterwards what has become another's.
    Cooperative,
}

/// What a member says of itself: a number of its choice, and what it still holds.
pub fn encode_metadata(mood: u32, holds: &BTreeSet<PartitionName>) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u32(mood);
    put_partitions(&mut out, holds);
    out.freeze()
}

/// What a member said that it holds.
pub fn decode_metadata(metadata: &Bytes) -> Option<BTreeSet<PartitionName>> {
    let mut rest = metadata.clone();
    rest.try_get_u32().ok()?;
    decode_partitions(&rest)
}

/// A member's part.
pub fn encode_partitions(partitions: &BTreeSet<PartitionName>) -> Bytes {
    let mut out = BytesMut::new();
    put_partitions(&mut out, partitions);
    out.freeze()
}

/// A member's part; none if it is not what a leader encodes.
pub fn decode_partitions(part: &Bytes) -> Option<BTreeSet<PartitionName>> {
    let (mut rest, mut found) = (part.clone(), BTreeSet::new());
    while !rest.is_empty() {
        let length = usize::from(rest.try_get_u16().ok()?);
        if rest.len() < length + 4 {
            return None;
        }
        let name = String::from_utf8(rest.split_to(length).to_vec()).ok()?;
        found.insert((name, rest.get_i32()));
    }
    Some(found)
}

fn put_partitions(out: &mut BytesMut, partitions: &BTreeSet<PartitionName>) {
    for (name, partition) in partitions {
        out.put_u16(name.len() as u16);
        out.put_slice(name.as_bytes());
        out.put_i32(*partition);
    }
}

/// Divides the partitions among members, given with what each still holds; `turn` moves the start, so that not every
/// rebalance gives everybody the same. What has another holder is withheld until that one has given it up.
pub fn divide(
    all: &[PartitionName],
    members: &BTreeMap<String, BTreeSet<PartitionName>>,
    turn: usize,
) -> BTreeMap<String, BTreeSet<PartitionName>> {
    let ids: Vec<&String> = members.keys().collect();
    let mut parts: BTreeMap<String, BTreeSet<PartitionName>> =
        ids.iter().map(|id| ((*id).clone(), BTreeSet::new())).collect();
    for (place, partition) in all.iter().enumerate() {
        let wanted = ids[(place + turn) % ids.len()];
        let holder = members.iter().find(|(_, holds)| holds.contains(partition)).map(|(id, _)| id);
        if holder.is_none_or(|holder| holder == wanted) {
            parts.entry(wanted.clone()).or_default().insert(partition.clone());
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_somebody_holds_is_given_to_nobody_else() {
        let all: Vec<PartitionName> = (0..4).map(|at| ("t".to_string(), at)).collect();
        let holds = BTreeSet::from([all[0].clone(), all[1].clone()]);
        let members = BTreeMap::from([("a".to_string(), holds.clone()), ("b".to_string(), BTreeSet::new())]);
        let parts = divide(&all, &members, 0);
        assert_eq!(parts["a"], BTreeSet::from([all[0].clone(), all[2].clone()]));
        assert_eq!(parts["b"], BTreeSet::from([all[3].clone()]), "1 is still held");
        assert_eq!(decode_partitions(&encode_partitions(&holds)), Some(holds.clone()));
        assert_eq!(decode_metadata(&encode_metadata(7, &holds)), Some(holds));
        assert_eq!(decode_partitions(&Bytes::from_static(b"\x00")), None);
    }
}
