//! A name server on loopback (RFC 1035) that answers as a test wants, and counts queries.

use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

const TYPE_A: u16 = 1;
const TYPE_AAAA: u16 = 28;

/// Answers each query with the addresses that `zone` returns for the name and the number of earlier IPv4 queries for
/// it.
pub(crate) fn dns(zone: impl Fn(&str, u64) -> Vec<IpAddr> + Send + 'static) -> (SocketAddr, Arc<AtomicU64>) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let asked = Arc::new(AtomicU64::new(0));
    let counter = asked.clone();
    std::thread::spawn(move || {
        let mut buffer = [0; 1500];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let query = &buffer[..length];
            let Some((name, kind, end)) = question(query) else { continue };
            let before = match kind {
                TYPE_A => counter.fetch_add(1, Ordering::SeqCst),
                _ => counter.load(Ordering::SeqCst),
            };
            let found: Vec<Vec<u8>> = zone(&name, before)
                .into_iter()
                .filter_map(|address| match (kind, address) {
                    (TYPE_A, IpAddr::V4(ip)) => Some(ip.octets().to_vec()),
                    (TYPE_AAAA, IpAddr::V6(ip)) => Some(ip.octets().to_vec()),
                    _ => None,
                })
                .collect();
            let mut answer = query[..2].to_vec();
            answer.extend([0x81, 0x80, 0, 1, 0, u8::try_from(found.len()).unwrap(), 0, 0, 0, 0]);
            answer.extend(&query[12..end]);
            for data in found {
                answer.extend([0xc0, 12]);
                answer.extend(kind.to_be_bytes());
                // Class IN with a time to live of 0, so that a client does not cache the answer.
                answer.extend([0, 1, 0, 0, 0, 0, 0, u8::try_from(data.len()).unwrap()]);
                answer.extend(data);
            }
            let _ = socket.send_to(&answer, from);
        }
    });
    (address, asked)
}

/// Returns name and type of the first question, and the offset of its end.
fn question(query: &[u8]) -> Option<(String, u16, usize)> {
    let (mut at, mut labels) = (12, Vec::new());
    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(query.get(at..at + length)?).to_lowercase());
        at += length;
    }
    let kind = u16::from_be_bytes([*query.get(at)?, *query.get(at + 1)?]);
    Some((labels.join("."), kind, at + 4))
}
