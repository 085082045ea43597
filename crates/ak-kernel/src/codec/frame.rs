//! The frame that carries requests and replies over a byte stream.
//!
//! | offset | bytes | field, little-endian |
//! |---|---|---|
//! | 0 | 2 | magic `0x414B` |
//! | 2 | 1 | version, 1 |
//! | 3 | 1 | flags |
//! | 4 | 4 | payload length, at most 16 MiB |
//! | 8 | 8 | sequence; strictly rising for each direction's requests, echoed in replies |
//! | 16 | 4 | CRC-32C of the first 16 bytes and the payload |
//! | 20 | … | payload, JSON |

use alloc::vec::Vec;

/// Bytes before the payload.
pub const HEADER_BYTES: usize = 20;
/// Longest payload of a frame, in bytes.
pub const PAYLOAD_BYTES_MAX: usize = 16 << 20;
/// The version of the frame and of its payload.
pub const VERSION: u8 = 1;

const MAGIC: u16 = 0x414B;
const CRC: crc::Crc<u32, crc::Table<16>> = crc::Crc::<u32, crc::Table<16>>::new(&crc::CRC_32_ISCSI);

/// The flags of a frame, which tell its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flags(u8);

impl Flags {
    /// A request.
    pub const REQUEST: Flags = Flags(0x01);
    /// A reply.
    pub const RESPONSE: Flags = Flags(0x02);
    /// Set with `RESPONSE`: the reply is a failure.
    pub const ERROR: Flags = Flags(0x04);
    /// A chunk of a streamed reply; the reply itself follows.
    pub const CHUNK: Flags = Flags(0x20);
    /// The last chunk of a streamed reply.
    pub const END: Flags = Flags(0x40);
    /// The first frame of a connection, from either side.
    pub const HELLO: Flags = Flags(0x80);

    /// The flags that are set in either.
    #[must_use]
    pub const fn with(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    /// Whether all flags of `other` are set.
    pub const fn has(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }
}

/// Why bytes are not a frame. After such an error the stream cannot be read further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The magic number is wrong.
    #[error("the frame does not begin with the magic number")]
    Magic,
    /// The version is not the supported one.
    #[error("frame version {0} is not known; this side speaks 1")]
    Version(u8),
    /// A flag is unknown.
    #[error("frame flags {0:#04x} are not known")]
    Flags(u8),
    /// The payload is longer than [`PAYLOAD_BYTES_MAX`].
    #[error("a frame of {0} bytes is longer than the 16777216 allowed")]
    TooLarge(u32),
    /// The checksum is wrong.
    #[error("the frame's checksum is wrong")]
    Checksum,
}

/// The first 20 bytes of a frame, decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The kind of the frame.
    pub flags: Flags,
    /// Bytes of payload that follow.
    pub payload_bytes: usize,
    /// The sequence number.
    pub sequence: u64,
    front: [u8; 16],
    checksum: u32,
}

impl Header {
    /// Decodes a header.
    ///
    /// # Errors
    /// [`FrameError`], except for a wrong checksum, which can be checked with the payload only.
    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Header, FrameError> {
        const KNOWN: u8 = 0x01 | 0x02 | 0x04 | 0x20 | 0x40 | 0x80;
        let [m0, m1, version, flags, l0, l1, l2, l3, s0, s1, s2, s3, s4, s5, s6, s7, c0, c1, c2, c3] = *bytes;
        if u16::from_le_bytes([m0, m1]) != MAGIC {
            return Err(FrameError::Magic);
        }
        if version != VERSION {
            return Err(FrameError::Version(version));
        }
        if flags & !KNOWN != 0 {
            return Err(FrameError::Flags(flags));
        }
        let length = u32::from_le_bytes([l0, l1, l2, l3]);
        match usize::try_from(length) {
            Ok(payload_bytes) if payload_bytes <= PAYLOAD_BYTES_MAX => Ok(Header {
                flags: Flags(flags),
                payload_bytes,
                sequence: u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]),
                front: [m0, m1, version, flags, l0, l1, l2, l3, s0, s1, s2, s3, s4, s5, s6, s7],
                checksum: u32::from_le_bytes([c0, c1, c2, c3]),
            }),
            _ => Err(FrameError::TooLarge(length)),
        }
    }

    /// Checks the header and payload against the checksum.
    ///
    /// # Errors
    /// [`FrameError::Checksum`].
    pub fn verify(&self, payload: &[u8]) -> Result<(), FrameError> {
        if checksum(&self.front, payload) == self.checksum { Ok(()) } else { Err(FrameError::Checksum) }
    }
}

/// Encodes a frame.
///
/// # Errors
/// [`FrameError::TooLarge`].
pub fn encode(flags: Flags, sequence: u64, payload: &[u8]) -> Result<Vec<u8>, FrameError> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    if payload.len() > PAYLOAD_BYTES_MAX {
        return Err(FrameError::TooLarge(length));
    }
    let mut front = [0; 16];
    let fields = MAGIC.to_le_bytes().into_iter().chain([VERSION, flags.0]).chain(length.to_le_bytes());
    for (to, from) in front.iter_mut().zip(fields.chain(sequence.to_le_bytes())) {
        *to = from;
    }
    let mut frame = Vec::with_capacity(HEADER_BYTES + payload.len());
    frame.extend_from_slice(&front);
    frame.extend_from_slice(&checksum(&front, payload).to_le_bytes());
    frame.extend_from_slice(payload);
    Ok(frame)
}

fn checksum(front: &[u8; 16], payload: &[u8]) -> u32 {
    let mut digest = CRC.digest();
    digest.update(front);
    digest.update(payload);
    digest.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(frame: &[u8]) -> Result<Header, FrameError> {
        let header = Header::decode(frame[..HEADER_BYTES].try_into().unwrap())?;
        header.verify(&frame[HEADER_BYTES..])?;
        Ok(header)
    }

    #[test]
    fn the_frame_is_the_contract_s() {
        let frame = encode(Flags::REQUEST, 7, b"{}").unwrap();
        assert_eq!(frame[..16], [0x4B, 0x41, 1, 1, 2, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(frame[20..], *b"{}");
        let header = check(&frame).unwrap();
        assert_eq!((header.sequence, header.payload_bytes), (7, 2));
        assert!(header.flags.has(Flags::REQUEST) && !header.flags.has(Flags::ERROR));
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let frame = encode(Flags::RESPONSE, 1, b"{\"ok\":true}").unwrap();
        for bit in 0..frame.len() * 8 {
            let mut damaged = frame.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            // A longer length makes the reader wait for bytes that do not come.
            assert!(check(&damaged).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_payload_over_the_limit_is_refused() {
        let payload = alloc::vec![0; PAYLOAD_BYTES_MAX + 1];
        assert_eq!(encode(Flags::REQUEST, 0, &payload), Err(FrameError::TooLarge(16_777_217)));
        assert!(encode(Flags::REQUEST, 0, &payload[1..]).is_ok());
    }
}
