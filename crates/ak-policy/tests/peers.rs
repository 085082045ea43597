//! What real servers act on, against what policies say: run by `cargo xtask peers urls`.
//!
//! Each server is sent a URL and tells which path and query it acts on, in each way that programs on it read them.
//! It is sent the pattern as well, with letters where the wildcards stand: so the server itself tells how it reads
//! the pattern. Then, with the obvious matcher on what the server said:
//!
//! - a policy that permits the URL permits what the server acts on;
//! - a pattern that takes what the server acts on forbids the URL.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed")]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use ak_policy::{Policy, PolicyDecision, Query, Target};

/// How many URLs are asked about; `AK_URLS` says otherwise.
const URLS: usize = 10_000;
/// How long all servers together may take.
const SECONDS_MAX: u64 = 1_200;
/// Stand for `*` and `**` where a server reads a pattern.
const STAR: &str = "zqsz";
const DEEP: &str = "zqdz";

/// What a server acts on: a path, and a query unless the server tells of none.
type Acted = (Vec<u8>, Option<Vec<u8>>);

struct Peer {
    name: String,
    address: String,
    line: Option<BufReader<TcpStream>>,
    known: HashMap<String, Vec<Acted>>,
    /// How long the server took for all answers.
    took: Duration,
}

impl Peer {
    /// What the server acts on, in each reading; nothing when it refuses.
    fn acts_on(&mut self, target: &str) -> Vec<Acted> {
        if let Some(known) = self.known.get(target) {
            return known.clone();
        }
        // A decoded space or line break makes another request of it, to which nobody answers.
        let breaks = ["%20", "%09", "%0A"].iter().any(|escape| target.contains(escape));
        if self.name.contains("decoded") && breaks {
            return Vec::new();
        }
        // A server may close a line that it kept open; one that does not answer is not asked again.
        let started = Instant::now();
        let again = |error: &std::io::Error| error.kind() != std::io::ErrorKind::WouldBlock;
        let acted = match self.ask(target) {
            Err(error) if again(&error) => self.ask(target),
            acted => acted,
        };
        let acted = acted.unwrap_or_default();
        self.took += started.elapsed();
        self.known.insert(target.into(), acted.clone());
        acted
    }

    fn ask(&mut self, target: &str) -> std::io::Result<Vec<Acted>> {
        let mut line = match self.line.take() {
            Some(line) => line,
            None => {
                let stream = TcpStream::connect(&self.address)?;
                stream.set_read_timeout(Some(Duration::from_millis(500)))?;
                stream.set_nodelay(true)?;
                BufReader::new(stream)
            }
        };
        line.get_mut().write_all(format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes())?;
        let (mut status, mut told, mut length, mut keep) = (0, None, None, true);
        let mut chunked = false;
        loop {
            let mut header = String::new();
            if line.read_line(&mut header)? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            let header = header.trim_end();
            if header.is_empty() {
                break;
            }
            if status == 0 {
                status = header.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
            }
            let (name, value) = header.split_once(": ").unwrap_or((header, ""));
            match name.to_ascii_lowercase().as_str() {
                "x-ak" => told = Some(value.to_string()),
                "content-length" => length = value.parse::<usize>().ok(),
                "connection" => keep = !value.eq_ignore_ascii_case("close"),
                "transfer-encoding" => chunked = true,
                _ => {}
            }
        }
        let mut body = Vec::new();
        if chunked {
            loop {
                let mut size = String::new();
                line.read_line(&mut size)?;
                let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
                let mut chunk = vec![0; size + 2];
                line.read_exact(&mut chunk)?;
                if size == 0 {
                    break;
                }
                body.extend_from_slice(&chunk[..size]);
            }
        } else if let Some(length) = length {
            body.resize(length, 0);
            line.read_exact(&mut body)?;
        } else {
            keep = false;
        }
        if keep {
            self.line = Some(line);
        }
        Ok(match told {
            // httpd tells in a header, whatever its answer is, unless it refuses the URL itself.
            Some(told) if status != 400 => {
                let (path, query) = told.split_once(' ').unwrap_or((&told, ""));
                vec![(unescape(path), Some(unescape(query)))]
            }
            None if status == 200 => read_body(&body),
            _ => Vec::new(),
        })
    }
}

fn read_body(body: &[u8]) -> Vec<Acted> {
    const MARK: &[u8] = b"|AK|";
    if let Some(at) = body.windows(MARK.len()).rposition(|window| window == MARK) {
        return vec![(body[..at].to_vec(), Some(body[at + MARK.len()..].to_vec()))];
    }
    let text = std::str::from_utf8(body).unwrap();
    let acted = text.lines().filter_map(|line| line.split_once(' '));
    acted.map(|(path, query)| (unhex(path), Some(unhex(query)))).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    text.as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

fn unescape(text: &str) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((&first, behind)) = rest.split_first() {
        if first == b'%' && behind.len() >= 2 {
            bytes.extend(unhex(std::str::from_utf8(&behind[..2]).unwrap()));
            rest = &behind[2..];
        } else {
            bytes.push(first);
            rest = behind;
        }
    }
    bytes
}

/// A small generator: the same sequence for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (self.0 >> 33) as usize % end
    }

    fn of<'t>(&mut self, items: &[&'t str]) -> &'t str {
        items[self.below(items.len())]
    }
}

const NAMES: [&str; 5] = ["a", "b", "admin", "v1", "users"];
const PIECES: [&str; 44] = [
    "a", "b", "admin", "%61", "%2561", "%41", ":", "%3A", "%253A", ";", ";v=1", "%3B", "%253B", "%2F", "%2f",
    "%252F", "%252f", "%5C", "%5c", "%255C", "%20", "+", "%2B", "%25", "%2525", "%3F", "%253F", "%23", "%09",
    "%0A", "%C3%A9", "%E4", "!", "%21", "*", "%2A", "=", "%3D", "&", "@", "~", "%7E", ",", "%7C",
];
const BETWEEN: [&str; 12] = ["/", "/", "/", "/", "/", "/", "//", "///", "/./", "%2F", "%5C", "/;/"];

fn url(random: &mut Random) -> String {
    let mut url = String::from("https://h/");
    for _ in 0..=random.below(4) {
        if random.below(3) == 0 {
            url += random.of(&NAMES);
        } else {
            (0..=random.below(3)).for_each(|_| url += random.of(&PIECES));
        }
        if random.below(4) != 0 {
            url += random.of(&BETWEEN);
        }
    }
    if random.below(3) == 0 {
        url += "?q=";
        (0..random.below(4)).for_each(|_| url += random.of(&PIECES));
    }
    url
}

/// A pattern that may be about the URL: segments become wildcards, escapes are spelt otherwise.
fn pattern(random: &mut Random, url: &str) -> String {
    let url = url.replace('*', "x");
    let (path, query) = url.split_once('?').map_or((url.as_str(), None), |(path, query)| (path, Some(query)));
    let mut path = path.to_string();
    let spellings = [
        ("%3A", ":"),
        (":", "%3A"),
        ("%2F", "/"),
        ("%2f", "%252F"),
        ("%252F", "%2F"),
        ("%5C", "/"),
        ("//", "/"),
        ("%3B", ";"),
        ("%2561", "a"),
        ("%253A", ":"),
        ("%21", "!"),
        ("!", "%21"),
        ("%25", "%2525"),
        ("%2525", "%25"),
        ("%7C", "%257C"),
        (";v=1", ""),
    ];
    for _ in 0..random.below(4) {
        let (from, to) = spellings[random.below(spellings.len())];
        path = path.replacen(from, to, 1 + random.below(2));
    }
    if !path.starts_with("https://h/") {
        path = path.replacen("https:/h", "https://h", 1);
    }
    let mut segments: Vec<String> = path.split('/').skip(3).map(Into::into).collect();
    for segment in &mut segments {
        match random.below(8) {
            0 => *segment = "*".into(),
            1 => segment.push('*'),
            _ => {}
        }
    }
    match random.below(4) {
        0 => {
            segments.truncate(random.below(segments.len() + 1));
            segments.push("**".into());
        }
        1 if segments.len() > 1 => {
            let at = random.below(segments.len());
            segments[at] = "**".into();
        }
        _ => {}
    }
    let mut pattern = format!("https://h/{}", segments.join("/"));
    if let Some(query) = query
        && random.below(3) != 0
    {
        pattern += "?";
        pattern += &if random.below(2) == 0 { "q=*".into() } else { query.replace('+', "%20") };
    }
    pattern
}

/// The pattern as a request's target, with letters for wildcards.
fn spelt(pattern: &str) -> Option<String> {
    let text = pattern.replace("**", DEEP).replace('*', STAR);
    match Target::url(&text).ok()? {
        Target::Url(url) => Some(url.path_and_query().into()),
        _ => None,
    }
}

/// All ways to match: `*` within a segment, a segment `**` for any segments.
fn path_matches(pattern: &[u8], path: &[u8]) -> bool {
    let split = |text: &[u8]| {
        let text = text.strip_prefix(b"/").unwrap_or(text);
        text.split(|byte| *byte == b'/').map(<[u8]>::to_vec).collect::<Vec<_>>()
    };
    segments_match(&split(pattern), &split(path))
}

fn segments_match(pattern: &[Vec<u8>], path: &[Vec<u8>]) -> bool {
    match pattern {
        [] => path.is_empty(),
        [deep, rest @ ..] if deep == DEEP.as_bytes() => {
            (0..=path.len()).any(|at| segments_match(rest, &path[at..]))
        }
        [own, rest @ ..] => {
            path.first().is_some_and(|one| text_matches(own, one)) && segments_match(rest, &path[1..])
        }
    }
}

fn text_matches(pattern: &[u8], text: &[u8]) -> bool {
    if let Some(rest) =
        pattern.strip_prefix(STAR.as_bytes()).or_else(|| pattern.strip_prefix(DEEP.as_bytes()))
    {
        return (0..=text.len()).any(|at| text_matches(rest, &text[at..]));
    }
    match (pattern.split_first(), text.split_first()) {
        (None, None) => true,
        (Some((own, rest)), Some((one, text))) => own == one && text_matches(rest, text),
        _ => false,
    }
}

#[test]
#[ignore = "needs the servers that `cargo xtask peers urls` starts"]
fn what_servers_act_on_is_what_policies_are_about() {
    let peers = std::env::var("AK_URL_PEERS").expect("AK_URL_PEERS names the servers");
    let mut peers: Vec<Peer> = peers
        .split(',')
        .map(|peer| {
            let (name, address) = peer.split_once('=').unwrap();
            Peer {
                name: name.into(),
                address: address.into(),
                line: None,
                known: HashMap::new(),
                took: Duration::ZERO,
            }
        })
        .collect();
    let seed = std::env::var("AK_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let urls = std::env::var("AK_URLS").ok().and_then(|urls| urls.parse().ok()).unwrap_or(URLS);
    let (mut random, started) = (Random(seed), Instant::now());
    let (mut asked, mut refused, mut permits, mut forbids) = (0, 0, 0, 0);
    let mut faults = Vec::new();
    let mut answers: HashMap<String, usize> = HashMap::new();
    while asked < urls {
        let text = url(&mut random);
        let Ok(target) = Target::url(&text) else {
            refused += 1;
            continue;
        };
        asked += 1;
        assert!(
            started.elapsed() < Duration::from_secs(SECONDS_MAX),
            "the servers are too slow: {asked} URLs"
        );
        let Target::Url(canonical) = &target else { unreachable!("a URL") };
        let query = Query::new("main", ak_policy::Action::HttpGet, &target);
        let sent = canonical.path_and_query().to_string();
        for _ in 0..2 {
            let own = pattern(&mut random, canonical.as_str());
            let section = |key: &str, method: &str| {
                Policy::parse(&format!("profiles = []\n[http]\n{key} = ['{method}{own}']\n"), None)
            };
            let (Ok(permit), Ok(forbid), Some(as_request)) =
                (section("allow", "GET "), section("deny", ""), spelt(&own))
            else {
                continue;
            };
            let permitted = permit.decide(&query).decision == PolicyDecision::Permit;
            let forbidden = forbid.decide(&query).decision == PolicyDecision::Forbid;
            permits += usize::from(permitted);
            forbids += usize::from(forbidden);
            let goes_on = own.split_once('?').is_none() && own.ends_with("**");
            let says_query = own.contains('?');
            let (sent, as_request) = (&sent, &as_request);
            let told: Vec<_> = std::thread::scope(|scope| {
                let ask = |peer: &'_ mut Peer| (peer.acts_on(sent), peer.acts_on(as_request));
                let asked: Vec<_> = peers.iter_mut().map(|peer| scope.spawn(move || ask(peer))).collect();
                asked.into_iter().map(|asked| asked.join().unwrap()).collect()
            });
            for (peer, (acted, read)) in peers.iter().zip(told) {
                *answers.entry(peer.name.clone()).or_default() += usize::from(!acted.is_empty());
                // The same program reads both.
                if acted.len() != read.len() {
                    continue;
                }
                for ((path, query), (own_path, own_query)) in acted.iter().zip(&read) {
                    let by_path = path_matches(own_path, path);
                    // The server may have found a query in the path, of both.
                    let says_query = says_query || own_query.as_ref().is_some_and(|query| !query.is_empty());
                    // Whoever reads pairs sees none in the letters that stand for wildcards.
                    let pairs = |text: &Option<Vec<u8>>| {
                        text.iter().flatten().filter(|byte| matches!(byte, b'=' | b'&')).count()
                    };
                    let holds = |letters: &str| {
                        let own = own_query.as_deref().unwrap_or_default();
                        own.windows(letters.len()).any(|window| window == letters.as_bytes())
                    };
                    let found_wildcard = holds(DEEP) || holds(STAR) && !own.contains('?');
                    // Letters that were taken for a host stood for any number of segments.
                    let found_wildcard = found_wildcard
                        || own.contains("**") && !own_path.windows(4).any(|window| window == DEEP.as_bytes());
                    if found_wildcard && (pairs(query) > 0 || !holds(DEEP)) {
                        continue;
                    }
                    if says_query && pairs(query) != pairs(own_query) {
                        continue;
                    }
                    let by_query = match (query, own_query) {
                        (Some(query), Some(own)) if says_query => text_matches(own, query),
                        _ => true,
                    };
                    let has_query = query.as_ref().is_some_and(|query| !query.is_empty());
                    let narrow = by_path && by_query && (says_query || goes_on || !has_query);
                    let tell = |what: &str| {
                        format!(
                            "{}: {what}: pattern {own} (read as {:?}), url {} (acted on as {:?} ? {:?})",
                            peer.name,
                            String::from_utf8_lossy(own_path),
                            canonical.as_str(),
                            String::from_utf8_lossy(path),
                            query.as_deref().map(String::from_utf8_lossy),
                        )
                    };
                    if permitted && !narrow {
                        faults.push(tell("permitted what the pattern does not take"));
                    }
                    if by_path && by_query && !forbidden && (!says_query || has_query) {
                        faults.push(tell("did not forbid what the pattern takes"));
                    }
                }
            }
        }
    }
    println!(
        "{asked} URLs asked, {refused} refused; {permits} permits, {forbids} forbids; answers: {answers:?}"
    );
    for peer in &peers {
        println!("{}: {} requests in {:?}", peer.name, peer.known.len(), peer.took);
    }
    for name in peers.iter().map(|peer| &peer.name) {
        assert!(answers.get(name).is_some_and(|count| *count > urls / 4), "{name} refuses nearly everything");
    }
    faults.sort_by_key(String::len);
    let shown: Vec<_> = faults.iter().take(40).map(String::as_str).collect();
    assert!(faults.is_empty(), "{} faults, seed {seed}:\n{}", faults.len(), shown.join("\n"));
    assert!(permits > urls / 10 && forbids > urls / 2, "the patterns are about other URLs");
}
