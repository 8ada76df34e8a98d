//! The PROXY protocol, versions 1 and 2: what a load balancer sends before a client's bytes, to tell whose they are.
//!
//! The format is HAProxy's (<https://www.haproxy.org/download/2.8/doc/proxy-protocol.txt>). The parser says how many bytes
//! of the header are still missing at least, so that whoever reads never takes a byte of what follows it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// What every header of version 2 begins with.
pub const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// What every header of version 1 begins with.
const LINE_START: &[u8] = b"PROXY ";
/// The shortest header: `PROXY UNKNOWN\r\n`.
const SHORTEST: usize = 15;
/// The longest line of version 1, its end included.
const LONGEST_LINE: usize = 107;
/// The fixed part of version 2.
const FIXED_BYTES: usize = 16;
/// The most that may follow the fixed part of version 2: addresses, and extensions that are not read.
const LONGEST_BLOCK: usize = 4_096;
/// What the addresses of a version 2 header take, by family.
const IPV4_BLOCK: usize = 12;
const IPV6_BLOCK: usize = 36;
const UNIX_BLOCK: usize = 216;

/// What the bytes so far are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// The beginning of a header, of which at least so many bytes are still to come.
    Missing(usize),
    /// A header.
    Header {
        /// How many of the bytes it takes.
        length: usize,
        /// Whose connection it is; `None` is the proxy's own (a health check), or one of which it does not know.
        source: Option<IpAddr>,
    },
}

/// The bytes are no header of the PROXY protocol for a TCP connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no PROXY protocol header")]
pub struct Malformed;

/// Parses the beginning of a connection.
pub fn parse(bytes: &[u8]) -> Result<Parsed, Malformed> {
    if begins_alike(bytes, LINE_START) {
        parse_line(bytes)
    } else if begins_alike(bytes, &SIGNATURE) {
        parse_binary(bytes)
    } else {
        Err(Malformed)
    }
}

/// Reads a header, and nothing beyond it.
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<IpAddr>> {
    let mut bytes = Vec::new();
    loop {
        match parse(&bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))? {
            Parsed::Header { source, .. } => return Ok(source),
            Parsed::Missing(count) => {
                let there = bytes.len();
                bytes.resize(there + count, 0);
                stream.read_exact(&mut bytes[there..]).await?;
            }
        }
    }
}

/// Whether `bytes` begin with `start`, or are the beginning of it.
fn begins_alike(bytes: &[u8], start: &[u8]) -> bool {
    bytes.iter().zip(start).all(|(byte, wanted)| byte == wanted)
}

fn parse_line(bytes: &[u8]) -> Result<Parsed, Malformed> {
    let searched = &bytes[..bytes.len().min(LONGEST_LINE)];
    let Some(end) = memchr::memchr(b'\n', searched) else {
        return if searched.len() < LONGEST_LINE {
            Ok(Parsed::Missing(SHORTEST.saturating_sub(bytes.len()).max(1)))
        } else {
            Err(Malformed)
        };
    };
    let line = std::str::from_utf8(&bytes[..end])
        .ok()
        .and_then(|line| line.strip_suffix('\r'))
        .ok_or(Malformed)?;
    Ok(Parsed::Header {
        length: end + 1,
        source: line_source(line)?,
    })
}

fn line_source(line: &str) -> Result<Option<IpAddr>, Malformed> {
    let mut fields = line.split(' ').skip(1);
    let family = fields.next().ok_or(Malformed)?;
    if family == "UNKNOWN" {
        // Whatever follows is to be ignored.
        return Ok(None);
    }
    let fields: Vec<&str> = fields.collect();
    let &[source, destination, source_port, destination_port] = fields.as_slice() else {
        return Err(Malformed);
    };
    if !is_port(source_port) || !is_port(destination_port) {
        return Err(Malformed);
    }
    let source = match family {
        "TCP4" => {
            let _: Ipv4Addr = destination.parse().map_err(|_| Malformed)?;
            source.parse().map(IpAddr::V4)
        }
        "TCP6" => {
            let _: Ipv6Addr = destination.parse().map_err(|_| Malformed)?;
            source.parse().map(IpAddr::V6)
        }
        _ => return Err(Malformed),
    };
    source.map(Some).map_err(|_| Malformed)
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

fn parse_binary(bytes: &[u8]) -> Result<Parsed, Malformed> {
    let Some((fixed, rest)) = bytes.split_first_chunk::<FIXED_BYTES>() else {
        // What version 1 needs at least is asked for first: until a byte is there, it may be either.
        let wanted = if bytes.is_empty() {
            SHORTEST
        } else {
            FIXED_BYTES
        };
        return Ok(Parsed::Missing(wanted - bytes.len()));
    };
    let &[.., version_and_command, family, high, low] = fixed;
    let block_length = usize::from(u16::from_be_bytes([high, low]));
    let is_proxied = match version_and_command {
        0x20 => false,
        0x21 => true,
        _ => return Err(Malformed),
    };
    if block_length > LONGEST_BLOCK {
        return Err(Malformed);
    }
    let Some(block) = rest.get(..block_length) else {
        return Ok(Parsed::Missing(block_length - rest.len()));
    };
    let source = if is_proxied {
        block_source(family, block)?
    } else {
        None
    };
    Ok(Parsed::Header {
        length: FIXED_BYTES + block_length,
        source,
    })
}

/// The source address comes first in a block, whatever its family.
fn block_source(family: u8, block: &[u8]) -> Result<Option<IpAddr>, Malformed> {
    let needed = match family {
        0x00 => 0,
        0x11 => IPV4_BLOCK,
        0x21 => IPV6_BLOCK,
        0x31 => UNIX_BLOCK,
        _ => return Err(Malformed),
    };
    if block.len() < needed {
        return Err(Malformed);
    }
    Ok(match family {
        0x11 => block
            .first_chunk::<4>()
            .map(|ip| Ipv4Addr::from(*ip).into()),
        0x21 => block
            .first_chunk::<16>()
            .map(|ip| Ipv6Addr::from(*ip).into()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header(length: usize, source: Option<&str>) -> Result<Parsed, Malformed> {
        Ok(Parsed::Header {
            length,
            source: source.map(|ip| ip.parse().unwrap()),
        })
    }

    fn binary(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
        let length = u16::try_from(block.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, block].concat()
    }

    #[test]
    fn lines_of_version_1() {
        for (line, source) in [
            (
                "PROXY TCP4 192.0.2.7 10.0.0.1 56324 443\r\n",
                Some("192.0.2.7"),
            ),
            (
                "PROXY TCP6 2001:db8::7 ::1 1 65535\r\n",
                Some("2001:db8::7"),
            ),
            ("PROXY UNKNOWN\r\n", None),
            ("PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n", None),
        ] {
            let followed = format!("{line}GET / HTTP/1.1\r\n");
            assert_eq!(parse(followed.as_bytes()), header(line.len(), source));
        }
        let endless = format!("PROXY UNKNOWN {}", "x".repeat(200));
        for line in [
            "GET / HTTP/1.1\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 56324\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 56324 443 5\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 56324 70000\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 +1 443\r\n",
            "PROXY TCP4 2001:db8::7 ::1 1 2\r\n",
            "PROXY TCP4  192.0.2.7 10.0.0.1 1 2\r\n",
            "PROXY UDP4 192.0.2.7 10.0.0.1 1 2\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 1 2\n",
            &endless,
        ] {
            assert_eq!(parse(line.as_bytes()), Err(Malformed), "{line}");
        }
    }

    #[test]
    fn blocks_of_version_2() {
        let ipv4 = [192, 0, 2, 7, 10, 0, 0, 1, 1, 1, 1, 1];
        let with_extension = [&ipv4[..], b"\x04\x00\x01x"].concat();
        let mut ipv6 = [0; 36];
        ipv6[15] = 1;
        for (bytes, source) in [
            (binary(0x21, 0x11, &ipv4), Some("192.0.2.7")),
            (binary(0x21, 0x11, &with_extension), Some("192.0.2.7")),
            (binary(0x21, 0x21, &ipv6), Some("::1")),
            (binary(0x21, 0x31, &[0; 216]), None),
            (binary(0x21, 0x00, b""), None),
            // The proxy's own connection, whatever it says of addresses.
            (binary(0x20, 0x11, &ipv4), None),
        ] {
            assert_eq!(parse(&bytes), header(bytes.len(), source));
        }
        for bytes in [
            binary(0x11, 0x11, &ipv4),
            binary(0x22, 0x11, &ipv4),
            binary(0x21, 0x12, &ipv4),
            binary(0x21, 0x11, &ipv4[..11]),
            binary(0x21, 0x21, &ipv4),
            binary(0x21, 0x00, &[0; 4_097]),
        ] {
            assert_eq!(parse(&bytes), Err(Malformed), "{bytes:?}");
        }
    }

    #[tokio::test]
    async fn reading_takes_nothing_of_what_follows() {
        let ipv4 = [192, 0, 2, 7, 10, 0, 0, 1, 1, 1, 1, 1];
        for head in [
            b"PROXY UNKNOWN\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 10.0.0.1 1 2\r\n".to_vec(),
            binary(0x21, 0x11, &ipv4),
            binary(0x20, 0x00, b""),
        ] {
            let bytes = [&head[..], b"x"].concat();
            let mut unread = bytes.as_slice();
            read(&mut unread).await.unwrap();
            assert_eq!(unread, b"x");
        }
        let mut cut = &SIGNATURE[..];
        assert!(read(&mut cut).await.is_err());
    }

    proptest! {
        /// Every beginning of a header asks for bytes, and never for more than there are.
        #[test]
        fn what_is_missing_is_never_too_much(ip: [u8; 4], ports: [u16; 2], tail: Vec<u8>) {
            let [source_port, port] = ports;
            let line = format!("PROXY TCP4 {} 10.0.0.1 {source_port} {port}\r\n", Ipv4Addr::from(ip));
            let block = [&ip[..], &[0; 8], &tail].concat();
            for bytes in [line.into_bytes(), binary(0x21, 0x11, &block)] {
                prop_assert_eq!(
                    parse(&bytes),
                    Ok(Parsed::Header { length: bytes.len(), source: Some(Ipv4Addr::from(ip).into()) })
                );
                for length in 0..bytes.len() {
                    let Ok(Parsed::Missing(count)) = parse(&bytes[..length]) else {
                        return Err(TestCaseError::fail("a beginning is no header"));
                    };
                    prop_assert!(count > 0 && length + count <= bytes.len());
                }
            }
        }

        #[test]
        fn anything_may_come(bytes: Vec<u8>) {
            if let Ok(Parsed::Header { length, .. }) = parse(&bytes) {
                prop_assert!(length <= bytes.len());
            }
        }
    }
}
