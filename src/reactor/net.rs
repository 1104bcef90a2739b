//! Listening sockets: bound early, so that a taken port is known before anything starts, and opened late.
//! Must never touch: connections.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// A socket with an address that nobody can connect to yet.
#[derive(Debug)]
pub struct Bound {
    socket: OwnedFd,
}

impl Bound {
    /// Takes the address; port 0 lets the system choose.
    pub fn new(address: SocketAddr) -> io::Result<Bound> {
        let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
        // SAFETY: plain integers.
        let fd = unsafe { libc::socket(family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new and nobody else owns it.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        let on = 1i32;
        let bytes = size_of::<i32>() as libc::socklen_t;
        // SAFETY: the option's value is one int that outlives the call. Connections of a broker that has just ended must
        // not keep its port.
        if unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, (&raw const on).cast(), bytes) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the address structures are fully written and their sizes are their own.
        let bound = unsafe {
            match address {
                SocketAddr::V4(address) => {
                    let raw = v4(address);
                    libc::bind(fd, (&raw const raw).cast(), size_of_val(&raw) as libc::socklen_t)
                }
                SocketAddr::V6(address) => {
                    let raw = v6(address);
                    libc::bind(fd, (&raw const raw).cast(), size_of_val(&raw) as libc::socklen_t)
                }
            }
        };
        if bound != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Bound { socket })
    }

    /// The address, with the port that the system chose.
    pub fn address(&self) -> io::Result<SocketAddr> {
        // A listener is only a typed descriptor: the question works before it listens.
        TcpListener::from(self.socket.try_clone()?).local_addr()
    }

    /// Lets clients connect; `backlog` of them may wait to be accepted.
    pub fn listen(self, backlog: i32) -> io::Result<TcpListener> {
        // SAFETY: an open socket of ours.
        if unsafe { libc::listen(self.socket.as_raw_fd(), backlog) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(TcpListener::from(self.socket))
    }
}

fn v4(address: std::net::SocketAddrV4) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(address.ip().octets()) },
        sin_zero: [0; 8],
    }
}

fn v6(address: std::net::SocketAddrV6) -> libc::sockaddr_in6 {
    libc::sockaddr_in6 {
        sin6_family: libc::AF_INET6 as libc::sa_family_t,
        sin6_port: address.port().to_be(),
        sin6_flowinfo: address.flowinfo(),
        sin6_addr: libc::in6_addr { s6_addr: address.ip().octets() },
        sin6_scope_id: address.scope_id(),
    }
}

/// The machine's name, for clients that are told where to connect; `localhost` when it has none.
pub fn host_name() -> String {
    let mut name = [0u8; 256];
    // SAFETY: one byte less than the place, so the name always ends with a zero.
    if unsafe { libc::gethostname(name.as_mut_ptr().cast(), name.len() - 1) } != 0 {
        return "localhost".to_string();
    }
    let len = name.iter().position(|&byte| byte == 0).unwrap_or(name.len());
    match std::str::from_utf8(&name[..len]) {
        Ok(name) if !name.is_empty() => name.to_string(),
        _ => "localhost".to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;

    #[test]
    fn a_bound_port_is_taken_but_refuses_until_it_listens() {
        for any in ["127.0.0.1:0", "[::1]:0"] {
            let any: SocketAddr = any.parse().expect("an address");
            let Ok(bound) = Bound::new(any) else { continue };
            let address = bound.address().expect("bound");
            assert_ne!(address.port(), 0);
            assert!(TcpStream::connect(address).is_err());
            let listener = bound.listen(10).expect("the port is ours");
            assert!(TcpStream::connect(address).is_ok());
            let second = Bound::new(address);
            assert!(second.is_err(), "a listening port cannot be bound again");
            drop(listener);
        }
        assert!(!host_name().is_empty());
    }
}
