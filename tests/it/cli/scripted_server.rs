//! A server on loopback that answers as a test tells it to: one request per connection.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// What a client asked.
#[derive(Debug, Clone)]
pub struct Asked {
    /// `METHOD /path?query`.
    pub line: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// The way back to the client.
pub struct Answer(TcpStream);

impl Answer {
    pub fn json(self, status: u16, body: &str) {
        self.with_type(status, "application/json", body);
    }

    pub fn problem(self, status: u16, detail: &str) {
        let body = format!(r#"{{"title":"No","status":{status},"detail":"{detail}"}}"#);
        self.with_type(status, "application/problem+json", &body);
    }

    /// Lets another server answer.
    pub fn pass_on(mut self, asked: &Asked, address: &str) {
        let mut server = TcpStream::connect(address).unwrap();
        let mut request = format!("{} HTTP/1.1\r\n", asked.line);
        for (name, value) in &asked.headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str(&format!("\r\n{}", asked.body));
        server.write_all(request.as_bytes()).unwrap();
        // Ends when either side goes.
        drop(std::io::copy(&mut server, &mut self.0));
    }

    /// A text, with the headers of one.
    pub fn text(self, status: u16, body: &str) {
        self.with_type(status, "text/plain", body);
    }

    /// Begins a stream of events; it ends when this is dropped.
    pub fn events(mut self) -> Events {
        let head =
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";
        self.0.write_all(head.as_bytes()).unwrap();
        Events(self.0)
    }

    fn with_type(mut self, status: u16, content_type: &str, body: &str) {
        let length = body.len();
        let head = format!(
            "HTTP/1.1 {status} X\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
        );
        // The client may have gone.
        drop(self.0.write_all((head + body).as_bytes()));
    }
}

/// An open stream.
pub struct Events(TcpStream);

impl Events {
    /// Sends an event; `false` when the client has gone.
    pub fn send(&mut self, id: &str, name: &str, data: &str) -> bool {
        let event = format!("id: {id}\nevent: {name}\ndata: {data}\n\n");
        self.0.write_all(event.as_bytes()).is_ok()
    }

    /// Sends bytes as they are; `false` when the client has gone.
    pub fn send_raw(&mut self, text: &str) -> bool {
        self.0.write_all(text.as_bytes()).is_ok()
    }

    /// Waits until the client has gone.
    pub fn wait_for_end(mut self) {
        let mut rest = Vec::new();
        drop(self.0.read_to_end(&mut rest));
    }
}

/// Which servers one behaves like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Age {
    Today,
    /// Version 0.5 and those before.
    Before,
}

pub struct ScriptedServer {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl ScriptedServer {
    /// Answers every request with `script`, each on a thread of its own, until the test ends; but for
    /// the question what it is, which it answers as a server of today.
    pub fn start(script: impl Fn(&Asked, Answer) + Send + Sync + 'static) -> ScriptedServer {
        ScriptedServer::start_as(Age::Today, script)
    }

    /// As [`start`](ScriptedServer::start), of an age; all that a server of before is asked is in the script.
    pub fn start_as(
        age: Age,
        script: impl Fn(&Asked, Answer) + Send + Sync + 'static,
    ) -> ScriptedServer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (log, script) = (Arc::clone(&asked), Arc::new(script));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (log, script) = (Arc::clone(&log), Arc::clone(&script));
                thread::spawn(move || {
                    let stream = stream.unwrap();
                    if let Some(request) = read_request(&stream) {
                        if age == Age::Today && request.line == "GET /readyz" {
                            let body = r#"{"status":"ok","workspace_hash":"00c0ffee00c0ffee"}"#;
                            return Answer(stream).json(200, body);
                        }
                        log.lock().unwrap().push(request.clone());
                        script(&request, Answer(stream));
                    }
                });
            }
        });
        ScriptedServer { address, asked }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// What was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

fn read_request(stream: &TcpStream) -> Option<Asked> {
    let mut reader = BufReader::new(stream);
    let mut line = || {
        let mut text = String::new();
        let length = reader.read_line(&mut text).ok()?;
        (length > 0).then(|| text.trim_end().to_owned())
    };
    let first = line()?;
    let line_of_request = first.rsplit_once(' ')?.0.to_owned();
    let mut headers = Vec::new();
    loop {
        let header = line()?;
        let Some((name, value)) = header.split_once(':') else {
            break;
        };
        headers.push((name.to_lowercase(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length: usize = length.map_or(0, |(_, value)| value.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Asked {
        line: line_of_request,
        headers,
        body: String::from_utf8(body).unwrap(),
    })
}
