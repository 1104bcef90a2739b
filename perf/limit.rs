//! The machine's limit for durable produce, as a program: a bare ring that receives Produce requests, commits all that
//! have gathered with one O_DIRECT write into recycled blocks, one commit in flight, and then answers them.
//! It checks nothing and keeps nothing: whatever a broker does beyond this is the broker's cost.

mod journal;
mod ring;

use clap::Args;
use std::net::TcpListener;
use std::path::PathBuf;

/// The limit.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Where to listen, host:port; port 0 takes a free one, which is printed.
    #[arg(long, default_value = "127.0.0.1:0")]
    pub listen: String,
    /// The journal's file, on the disk to be measured; made anew and left behind.
    #[arg(long, default_value = "limit-journal")]
    pub journal: PathBuf,
    /// The journal's size in MiB.
    #[arg(long, default_value_t = 512)]
    pub journal_mib: u64,
    /// Answer after the write without flushing it.
    #[arg(long)]
    pub no_dsync: bool,
}

/// Serves until it is killed.
pub fn run(options: &Options) -> Result<(), String> {
    let journal = journal::Journal::create(&options.journal, options.journal_mib << 20, !options.no_dsync)?;
    let listener = TcpListener::bind(&options.listen).map_err(|e| format!("{}: {e}", options.listen))?;
    println!("listening on {}", listener.local_addr().map_err(|e| e.to_string())?);
    ring::Server::new(listener, journal)?.serve()
}

/// Where a request's answer needs to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Asked<'a> {
    correlation_id: i32,
    topic: &'a [u8],
    partition: i32,
}

/// Reads of a Produce v3–v8 request (without its length) with one partition what the answer repeats.
fn read_request(frame: &[u8]) -> Option<Asked<'_>> {
    let number = |at: usize| Some(i16::from_be_bytes(frame.get(at..at + 2)?.try_into().ok()?));
    let wide = |at: usize| Some(i32::from_be_bytes(frame.get(at..at + 4)?.try_into().ok()?));
    let text_bytes = |at: usize| number(at).map(|length| usize::try_from(length).unwrap_or(0));
    if number(0)? != 0 {
        return None;
    }
    let transactional_at = 10 + text_bytes(8)?;
    // Behind the transactional id: acks, timeout, the count of topics.
    let topic_at = transactional_at + 2 + text_bytes(transactional_at)? + 10;
    let topic = frame.get(topic_at + 2..topic_at + 2 + text_bytes(topic_at)?)?;
    let partition = wide(topic_at + 2 + topic.len() + 4)?;
    Some(Asked { correlation_id: wide(4)?, topic, partition })
}

/// Appends the answer in version 7, its length in front.
fn put_response(out: &mut Vec<u8>, asked: &Asked<'_>, base_offset: i64) {
    let length = 4 + 4 + 2 + asked.topic.len() + 4 + (4 + 2 + 8 + 8 + 8) + 4;
    out.extend_from_slice(&(length as u32).to_be_bytes());
    out.extend_from_slice(&asked.correlation_id.to_be_bytes());
    out.extend_from_slice(&1i32.to_be_bytes());
    out.extend_from_slice(&(asked.topic.len() as i16).to_be_bytes());
    out.extend_from_slice(asked.topic);
    out.extend_from_slice(&1i32.to_be_bytes());
    out.extend_from_slice(&asked.partition.to_be_bytes());
    out.extend_from_slice(&0i16.to_be_bytes());
    out.extend_from_slice(&base_offset.to_be_bytes());
    out.extend_from_slice(&(-1i64).to_be_bytes());
    out.extend_from_slice(&0i64.to_be_bytes());
    out.extend_from_slice(&0i32.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames;
    use bytes::Bytes;
    use coretide_wire::Reader;
    use coretide_wire::header::decode_response_header;
    use coretide_wire::messages::produce::ProduceResponse;

    #[test]
    fn the_answer_is_a_valid_produce_response() {
        let request = &frames::produce("topic", 4, &frames::batch(1, 10)).unwrap()[3];
        let asked = read_request(&request[4..]).unwrap();
        assert_eq!(asked, Asked { correlation_id: 3, topic: b"topic", partition: 3 });
        let mut out = Vec::new();
        put_response(&mut out, &asked, 42);
        assert_eq!(out[..4], (out.len() as u32 - 4).to_be_bytes());
        let body = Bytes::from(out).slice(4..);
        let mut r = Reader::new(&body);
        assert_eq!(decode_response_header(&mut r, 0, frames::PRODUCE_VERSION), Ok(3));
        let response = ProduceResponse::decode(&mut r, frames::PRODUCE_VERSION).unwrap();
        r.expect_end().unwrap();
        assert_eq!(response.responses[0].name, "topic");
        let partition = &response.responses[0].partition_responses[0];
        assert_eq!((partition.index, partition.error_code, partition.base_offset), (3, 0, 42));
    }

    #[test]
    fn other_requests_and_cut_ones_are_refused() {
        let request = &frames::produce("topic", 1, &frames::batch(1, 10)).unwrap()[0][4..];
        for end in 0..40 {
            assert_eq!(read_request(&request[..end]), None, "{end}");
        }
        let mut other = request.to_vec();
        other[1] = 3;
        assert_eq!(read_request(&other), None);
    }
}
