//! What tests of sockets need of them.

use std::net::TcpStream;

use rustix::net::sockopt;

/// Far more than fits on a [narrow](narrow) way.
pub(in crate::http) const TOO_MUCH: usize = 1 << 20;

/// Keeps the way from `socket` to `client` narrow: the system would widen it for a client that reads
/// nothing.
pub(in crate::http) fn narrow(socket: &TcpStream, client: &TcpStream) {
    const BYTES: usize = 16 << 10;
    sockopt::set_socket_send_buffer_size(socket, BYTES).unwrap();
    sockopt::set_socket_recv_buffer_size(client, BYTES).unwrap();
}
