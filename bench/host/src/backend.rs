//! The server. It runs in a process of its own, so that its work is not measured.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
};

/// The chunks of a streamed completion, a token each.
pub(crate) const CHUNKS: usize = 128;

/// Prints its port to standard output, and serves until the process ends.
pub(crate) fn serve() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    println!("{}", listener.local_addr().expect("an address").port());
    for stream in listener.incoming().flatten() {
        // A client that hangs up ends its connection's thread.
        std::thread::spawn(move || answer(stream));
    }
}

fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let whole = r#"{"id":"1","object":"chat.completion","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"an answer of some words, as long as answers are"},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":11,"total_tokens":20}}"#;
    let event = r#"data: {"id":"1","object":"chat.completion.chunk","model":"m","choices":[{"index":0,"delta":{"content":"word "},"finish_reason":null}]}"#;
    let last = format!(
        "data: {{\"id\":\"1\",\"choices\":[],\"usage\":{{\"prompt_tokens\":9,\"completion_tokens\":{CHUNKS},\"total_tokens\":{}}}}}\n\ndata: [DONE]\n\n",
        CHUNKS + 9
    );
    let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
    let event = chunk(&format!("{event}\n\n"));
    loop {
        let (mut head, mut length) = (String::new(), 0);
        while !head.ends_with("\r\n\r\n") {
            let from = head.len();
            if reader.read_line(&mut head)? == 0 {
                return Ok(());
            }
            if let Some(value) = head[from..].to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        if body.windows(13).any(|window| window == br#""stream":true"#) {
            stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
            for _ in 0..CHUNKS {
                stream.write_all(event.as_bytes())?;
            }
            stream.write_all(format!("{}0\r\n\r\n", chunk(&last)).as_bytes())?;
        } else {
            stream.write_all(
                format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{whole}", whole.len()).as_bytes(),
            )?;
        }
    }
}
