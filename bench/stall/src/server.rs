//! A server of HTTP and of models. The request determines the size of the response.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
};

/// Listens on loopback until the process ends; returns `host:port`.
pub(crate) fn start() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A client that hangs up ends its connection's thread.
            std::thread::spawn(move || answer(stream));
        }
    });
    address
}

fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut head, mut length) = (String::new(), 0);
    while !head.ends_with("\r\n\r\n") {
        let from = head.len();
        if reader.read_line(&mut head)? == 0 {
            return Ok(());
        }
        let line = head.get(from..).unwrap_or_default().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let path = head.split(' ').nth(1).unwrap_or_default();
    let (kind, number) = path.trim_start_matches('/').split_once('/').unwrap_or((path, "0"));
    let number = number.parse().unwrap_or(0);
    match kind {
        "bytes" => whole(&mut stream, "", &vec![b'x'; number]),
        "headers" => {
            let headers: String = (0..number).map(|index| format!("x-{index}: value\r\n")).collect();
            whole(&mut stream, &headers, b"done")
        }
        "redirect" if number > 0 => {
            let location = format!("location: /redirect/{}\r\n", number - 1);
            respond(&mut stream, "302 Found", &location, b"")
        }
        "v1" => complete(&mut stream, &String::from_utf8_lossy(&body)),
        _ => whole(&mut stream, "", b"done"),
    }
}

/// The model `chunks-N` answers with N words, any other model with one.
fn complete(stream: &mut TcpStream, body: &str) -> std::io::Result<()> {
    let chunks = body.split_once("\"model\":\"chunks-").map(|(_, rest)| rest);
    let digits = chunks.and_then(|rest| rest.split('"').next()).unwrap_or_default();
    let chunks: usize = digits.parse().unwrap_or(1);
    if !body.contains("\"stream\":true") {
        let answer = format!(
            "{{\"id\":\"1\",\"choices\":[{{\"index\":0,\"message\":{{\"role\":\"assistant\",\"content\":\"{}\"}},\"finish_reason\":\"stop\"}}],\"usage\":{{\"prompt_tokens\":9,\"completion_tokens\":9,\"total_tokens\":18}}}}",
            "word ".repeat(chunks)
        );
        return whole(stream, "content-type: application/json\r\n", answer.as_bytes());
    }
    stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: text/event-stream\r\n\r\n")?;
    let event = "data: {\"id\":\"1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"word \"},\"finish_reason\":null}]}\n\n";
    for _ in 0..chunks {
        stream.write_all(event.as_bytes())?;
    }
    stream.write_all(b"data: [DONE]\n\n")
}

fn whole(stream: &mut TcpStream, headers: &str, body: &[u8]) -> std::io::Result<()> {
    respond(stream, "200 OK", headers, body)
}

fn respond(stream: &mut TcpStream, status: &str, headers: &str, body: &[u8]) -> std::io::Result<()> {
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n");
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)
}
