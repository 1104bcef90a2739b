//! The reference for reads: every request is answered by one plain `send` of a prepared Fetch response from memory.
//! Each connection goes around in memory of its own, as large as what a fetch load reads from a partition: one piece
//! sent again and again would come out of the processor's cache.

use crate::admin::read_frame;
use crate::frames::FETCH_VERSION;
use bytes::Bytes;
use clap::Args;
use coretide_wire::encode_response;
use coretide_wire::messages::fetch::{FetchResponse, FetchableTopicResponse, PartitionData};
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::thread;

/// The send loop.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Where to listen, host:port; port 0 takes a free one, which is printed.
    #[arg(long, default_value = "127.0.0.1:0")]
    pub listen: String,
    /// Bytes of records in each response.
    #[arg(long, default_value_t = 1 << 20)]
    pub piece_bytes: usize,
    /// Memory that each connection goes around in, in MiB.
    #[arg(long, default_value_t = 8)]
    pub span_mib: usize,
}

/// Serves until it is killed.
pub fn run(options: &Options) -> Result<(), String> {
    let pieces = ((options.span_mib << 20) / options.piece_bytes.max(1)).max(1);
    let listener = TcpListener::bind(&options.listen).map_err(|e| format!("{}: {e}", options.listen))?;
    println!("listening on {}", listener.local_addr().map_err(|e| e.to_string())?);
    for stream in listener.incoming() {
        let stream = stream.map_err(|e| format!("accept: {e}"))?;
        let own = (0..pieces).map(|_| piece(options.piece_bytes)).collect::<Result<Vec<_>, _>>()?;
        thread::spawn(move || serve(stream, &own));
    }
    Ok(())
}

/// Ends when the client goes.
fn serve(mut stream: TcpStream, pieces: &[Bytes]) {
    let _ = stream.set_nodelay(true);
    for piece in pieces.iter().cycle() {
        if read_frame(&mut stream).is_err() || stream.write_all(piece).is_err() {
            return;
        }
    }
}

fn piece(record_bytes: usize) -> Result<Bytes, String> {
    let records = Some(Bytes::from(vec![0; record_bytes]));
    let partition = PartitionData { high_watermark: i64::MAX, records, ..Default::default() };
    let topic = FetchableTopicResponse { topic: "perf".into(), partitions: vec![partition], ..Default::default() };
    let response = FetchResponse { responses: vec![topic], ..Default::default() };
    encode_response(&response, FETCH_VERSION, 0).map_err(|e| e.to_string())
}
