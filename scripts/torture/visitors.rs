//! Connections that come and go in every way: at once, after a question, in the middle of a frame, with answers unread.
//! Must never touch: topics and groups.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use coretide_stdx::prng::Prng;

use crate::world::{REQUEST_TIMEOUT, World, count};

/// ApiVersions in version 0, no client id.
const QUESTION: [u8; 14] = [0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 7, 0xff, 0xff];

/// Opens and closes connections.
pub struct Visitor<'a> {
    /// The run.
    pub world: &'a World,
    /// Its own randomness.
    pub prng: Prng,
}

impl Visitor<'_> {
    /// Visits until the run is over.
    pub fn run(mut self) {
        while self.world.enter().is_some() {
            while self.world.is_open() {
                if let Err(error) = self.visit() {
                    self.world.refusal(format!("visitor: {}", error.kind()));
                }
                std::thread::sleep(Duration::from_millis(self.prng.below(20)));
            }
        }
    }

    fn visit(&mut self) -> std::io::Result<()> {
        let mut stream = TcpStream::connect(&self.world.address)?;
        count(&self.world.counters.connections, 1);
        stream.set_read_timeout(Some(REQUEST_TIMEOUT))?;
        match self.prng.below(5) {
            0 => Ok(()),
            1 => {
                stream.write_all(&QUESTION)?;
                let mut head = [0; 8];
                stream.read_exact(&mut head)
            }
            2 => stream.write_all(&QUESTION[..self.prng.below(14) as usize]),
            3 => (0..20).try_for_each(|_| stream.write_all(&QUESTION)),
            _ => {
                stream.write_all(&QUESTION)?;
                stream.shutdown(Shutdown::Write)?;
                // The answer, and then the end.
                stream.read_to_end(&mut Vec::new()).map(|_| ())
            }
        }
    }
}
