//! The one look into a member's metadata: which topics a consumer subscribes to (ConsumerProtocolSubscription). Needed for
//! OffsetDelete and offset expiry only; metadata that does not parse is no error (protocol.md G8). Must never touch:
//! assignments.

use std::collections::BTreeSet;
use std::sync::Arc;

/// The topics of a subscription of any version, or none when the bytes are something else. Whatever follows the topics is
/// not looked at, so later versions parse too.
pub(crate) fn topics(metadata: &[u8]) -> Option<BTreeSet<Arc<str>>> {
    let (version, rest) = metadata.split_first_chunk::<2>()?;
    if i16::from_be_bytes(*version) < 0 {
        return None;
    }
    let (count, mut rest) = rest.split_first_chunk::<4>()?;
    let count = i32::from_be_bytes(*count);
    let mut topics = BTreeSet::new();
    for _ in 0..u32::try_from(count).ok()? {
        let (len, tail) = rest.split_first_chunk::<2>()?;
        let name = tail.get(..usize::try_from(i16::from_be_bytes(*len)).ok()?)?;
        topics.insert(Arc::from(std::str::from_utf8(name).ok()?));
        rest = &tail[name.len()..];
    }
    Some(topics)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_of_good_and_of_lying_subscriptions() {
        let good = b"\0\x01\0\0\0\x02\0\x01a\0\x02bc\xff\xff\xff\xff\0\0\0\0";
        let names: Vec<_> = topics(good).expect("parses").into_iter().collect();
        assert_eq!(names.iter().map(|n| &**n).collect::<Vec<_>>(), ["a", "bc"]);
        for cut in 0..13 {
            assert_eq!(topics(&good[..cut]), None, "cut at {cut}");
        }
        assert_eq!(topics(b"\0\0\x7f\xff\xff\xff\0\x01a"), None, "a count without the topics");
        assert_eq!(topics(b"\0\0\xff\xff\xff\xff"), None, "a negative count");
        assert_eq!(topics(b"\0\0\0\0\0\x01\x80\0"), None, "a negative length");
        assert_eq!(topics(b"\xff\xff\0\0\0\0"), None, "a negative version");
    }
}
