//! What a clean stop must leave on disk: Kafka's own layout, as `kafka-dump-log --index-sanity-check` reads it. Written from
//! Kafka's formats; it knows nothing of how the broker writes.

use std::collections::BTreeMap;

use super::Verdict;
use crate::records::crc32c;

/// One batch of a segment as its header says.
#[derive(Clone, Copy, Debug)]
struct BatchAt {
    position: usize,
    last_offset: i64,
    max_timestamp: i64,
}

/// Checks every partition folder of a data directory: file paths and contents, sorted by path.
pub fn check_layout(files: &[(String, Vec<u8>)]) -> Verdict {
    let mut folders: BTreeMap<&str, BTreeMap<&str, &[u8]>> = BTreeMap::new();
    for (path, content) in files {
        if let Some((folder, name)) = path.rsplit_once('/')
            && !folder.starts_with('.')
            && !folder.ends_with("-delete")
            && !folder.ends_with("-stray")
            && !folder.ends_with("-new")
        {
            folders.entry(folder).or_default().insert(name, content);
        }
    }
    for (folder, files) in folders {
        check_partition(&files).map_err(|what| format!("D5: {folder}: {what}"))?;
    }
    Ok(())
}

fn check_partition(files: &BTreeMap<&str, &[u8]>) -> Verdict {
    let mut due = None;
    for (name, log) in files {
        let Some(stem) = name.strip_suffix(".log") else { continue };
        let base: i64 = stem.parse().map_err(|_| format!("{name} is no segment's name"))?;
        if stem.len() != 20 || due.is_some_and(|due| due != base) {
            return Err(format!("{name} begins where {due:?} was due"));
        }
        let batches = read_log(log, base).map_err(|what| format!("{name}: {what}"))?;
        due = Some(batches.last().map_or(base, |last| last.last_offset + 1));
        if let Some(index) = files.get(format!("{stem}.index").as_str()) {
            check_index(index, base, &batches).map_err(|what| format!("{stem}.index: {what}"))?;
        }
        if let Some(index) = files.get(format!("{stem}.timeindex").as_str()) {
            check_time_index(index, base, &batches).map_err(|what| format!("{stem}.timeindex: {what}"))?;
        }
    }
    Ok(())
}

fn read_log(log: &[u8], base: i64) -> Result<Vec<BatchAt>, String> {
    let (mut batches, mut position) = (Vec::<BatchAt>::new(), 0);
    while position < log.len() {
        let bad = |what: &str| format!("{what} at position {position} of {}", log.len());
        let rest = &log[position..];
        if rest.len() < 61 {
            return Err(bad("bytes that are no batch"));
        }
        let i32_at = |at: usize| i32::from_be_bytes(rest[at..at + 4].try_into().expect("four"));
        let i64_at = |at: usize| i64::from_be_bytes(rest[at..at + 8].try_into().expect("eight"));
        let total = i32_at(8) as usize + 12;
        if !(61..=rest.len()).contains(&total) || rest[16] != 2 {
            return Err(bad("no whole batch"));
        }
        if crc32c(&rest[21..total]) != i32_at(17) as u32 {
            return Err(bad("a wrong CRC"));
        }
        let base_offset = i64_at(0);
        let due = batches.last().map_or(base, |last| last.last_offset + 1);
        if base_offset != due {
            return Err(bad(&format!("offset {base_offset} where {due} was due")));
        }
        let last_offset = base_offset + i64::from(i32_at(23));
        batches.push(BatchAt { position, last_offset, max_timestamp: i64_at(35) });
        position += total;
    }
    Ok(batches)
}

fn check_index(index: &[u8], base: i64, batches: &[BatchAt]) -> Verdict {
    let (entries, rest) = index.as_chunks::<8>();
    if !rest.is_empty() {
        return Err(format!("{} bytes are no whole entries", index.len()));
    }
    let mut before = None;
    for entry in entries {
        let offset = base + i64::from(i32::from_be_bytes(entry[..4].try_into().expect("four")));
        let position = i32::from_be_bytes(entry[4..].try_into().expect("four")) as usize;
        let batch = batches.iter().find(|batch| batch.position == position);
        if batch.is_none_or(|batch| batch.last_offset != offset) {
            return Err(format!("offset {offset} at position {position}, there is {batch:?}"));
        }
        if before.is_some_and(|before| before >= offset) {
            return Err(format!("offset {offset} after {before:?}"));
        }
        before = Some(offset);
    }
    Ok(())
}

fn check_time_index(index: &[u8], base: i64, batches: &[BatchAt]) -> Verdict {
    let (entries, rest) = index.as_chunks::<12>();
    if !rest.is_empty() {
        return Err(format!("{} bytes are no whole entries", index.len()));
    }
    let mut before = None;
    for entry in entries {
        let timestamp = i64::from_be_bytes(entry[..8].try_into().expect("eight"));
        let offset = base + i64::from(i32::from_be_bytes(entry[8..].try_into().expect("four")));
        let batch = batches.iter().find(|batch| batch.last_offset >= offset);
        if batch.is_none_or(|batch| batch.last_offset != offset || batch.max_timestamp != timestamp) {
            return Err(format!("time {timestamp} at offset {offset}, there is {batch:?}"));
        }
        if before.is_some_and(|before| before >= timestamp) {
            return Err(format!("time {timestamp} after {before:?}"));
        }
        before = Some(timestamp);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::{RecordId, Sequenced, encode_batch};

    fn batch(base_offset: i64, count: u64) -> Vec<u8> {
        let ids: Vec<RecordId> = (0..count).map(RecordId).collect();
        let mut batch = encode_batch(&ids, 100 + base_offset, Sequenced::NONE);
        batch[..8].copy_from_slice(&base_offset.to_be_bytes());
        batch
    }

    fn directory() -> Vec<(String, Vec<u8>)> {
        let (first, second) = (batch(0, 3), batch(3, 2));
        let mut index = 4i32.to_be_bytes().to_vec();
        index.extend((first.len() as i32).to_be_bytes());
        let mut time_index = 103i64.to_be_bytes().to_vec();
        time_index.extend(4i32.to_be_bytes());
        let file = |name: &str, content: Vec<u8>| (format!("t-0/{name}"), content);
        vec![
            file("00000000000000000000.index", index),
            file("00000000000000000000.log", [first, second].concat()),
            file("00000000000000000000.timeindex", time_index),
            file("00000000000000000005.log", batch(5, 1)),
        ]
    }

    #[test]
    fn kafkas_layout_passes_and_each_lie_is_noticed() {
        assert_eq!(check_layout(&directory()), Ok(()));
        type Lie = fn(&mut Vec<(String, Vec<u8>)>);
        let lies: [Lie; 6] = [
            |files| files[0].1[3] = 3,
            |files| files[0].1[7] += 1,
            |files| files[1].1.extend([0; 100]),
            |files| *files[1].1.last_mut().expect("bytes") ^= 1,
            |files| files[2].1[7] += 1,
            |files| files[3].0 = "t-0/00000000000000000006.log".to_string(),
        ];
        for (place, lie) in lies.iter().enumerate() {
            let mut files = directory();
            lie(&mut files);
            assert!(check_layout(&files).is_err(), "lie {place} passed");
        }
    }
}
