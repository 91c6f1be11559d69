//! Connections: requests in, answers out, and what is planned to go wrong between.

use std::io::{self, BufRead, BufReader, ErrorKind, Read as _, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::methods::{self, Refusal};
use super::world::Sent;
use super::{PATIENCE, Shared, Trouble, polling};

/// How often a thread that waits looks whether its client has left.
const GLANCE: Duration = Duration::from_millis(20);
const BAD_GATEWAY: &str = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n\
    <center><h1>502 Bad Gateway</h1></center>\r\n<hr><center>nginx/1.18.0</center>\r\n</body>\r\n</html>\r\n";

/// A request as it arrived.
struct Request {
    /// Path and query.
    target: String,
    content_type: String,
    body: Vec<u8>,
}

/// What a method is called with.
#[derive(Debug, Clone, Default)]
pub struct Params {
    pub fields: Map<String, Value>,
    pub files: Vec<Sent>,
}

/// The connection is over.
struct Over;

pub fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for (number, stream) in listener.incoming().enumerate() {
        if shared.is_stopped() {
            return;
        }
        let Ok(stream) = stream.map(Arc::new) else {
            continue;
        };
        let socket = Arc::clone(&stream);
        shared.change(|world| world.sockets.insert(number, socket));
        let shared = Arc::clone(shared);
        let serve = move || {
            serve(&stream, &shared);
            shared.change(|world| world.sockets.remove(&number));
        };
        thread::Builder::new()
            .name("fake-telegram".into())
            .stack_size(512 << 10)
            .spawn(serve)
            .unwrap();
    }
}

fn serve(stream: &TcpStream, shared: &Shared) {
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE * 3)).unwrap();
    let mut reader = BufReader::new(stream);
    while let Ok(request) = read_request(&mut reader) {
        if answer(&request, stream, shared).is_err() {
            return;
        }
    }
}

fn answer(request: &Request, stream: &TcpStream, shared: &Shared) -> Result<(), Over> {
    let (path, query) = request
        .target
        .split_once('?')
        .unwrap_or((&request.target, ""));
    if let Some(path) = path.strip_prefix("/file/bot") {
        let (token, path) = path.split_once('/').unwrap_or((path, ""));
        return download(token, path, stream, shared);
    }
    let called = path
        .strip_prefix("/bot")
        .and_then(|path| path.split_once('/'));
    let Some((token, method)) = called else {
        return write_json(stream, 404, &refused(404, "Not Found"));
    };
    let params = read_params(request, query);
    call(token, method, &params, stream, shared)
}

/// Carries a call out, or has it fail as planned.
fn call(
    token: &str,
    method: &str,
    params: &Params,
    stream: &TcpStream,
    shared: &Shared,
) -> Result<(), Over> {
    let (number, trouble) = shared.change(|world| world.begin_call(method, params));
    let tell = |status, body: &Value| {
        shared.change(|world| world.end_call(number, Some(status), body));
        write_json(stream, status, body)
    };
    let act = || {
        let token_check = shared.lock().check_token(token);
        let result = match token_check {
            Err(refusal) => Err(refusal),
            Ok(()) if method.eq_ignore_ascii_case("getUpdates") => {
                polling::poll(shared, stream, params).ok_or(Over)?
            }
            Ok(()) => shared.change(|world| methods::perform(world, method, params)),
        };
        let (status, body) = as_answer(result);
        // What was done is known, even if nobody hears of it.
        shared.change(|world| world.end_call(number, None, &body));
        Ok((status, body))
    };
    match trouble {
        None => act().and_then(|(status, body)| tell(status, &body)),
        Some(Trouble::Slow(time)) => {
            let (status, body) = act()?;
            rest(stream, shared, Some(time))?;
            tell(status, &body)
        }
        Some(Trouble::CutBefore) => Err(Over),
        Some(Trouble::Hang) => rest(stream, shared, None),
        Some(Trouble::LostAnswer) => act().and(Err(Over)),
        Some(Trouble::HangAfter) => act().and_then(|_| rest(stream, shared, None)),
        Some(Trouble::HalfAnswer) => {
            let (status, body) = act()?;
            let text = body.to_string();
            write_head(stream, status, "application/json", text.len())?;
            write(stream, &text.as_bytes()[..text.len() / 2])?;
            Err(Over)
        }
        Some(Trouble::BadGateway) => {
            shared.change(|world| world.end_call(number, Some(502), &Value::Null));
            write_all(stream, 502, "text/html", BAD_GATEWAY.as_bytes())
        }
        Some(Trouble::Garbage) => {
            shared.change(|world| world.end_call(number, Some(200), &Value::Null));
            write_all(
                stream,
                200,
                "application/json",
                b"{\"ok\":true,\"resu\xff\x00lt\":",
            )
        }
        Some(Trouble::Odd) => tell(200, &json!({"ok": true, "result": {"what": ["is", 1]}})),
        Some(Trouble::Flood(seconds)) => {
            let refusal = shared.change(|world| world.flood(params, seconds));
            let (status, body) = as_answer(Err(refusal));
            tell(status, &body)
        }
        Some(Trouble::Refused(code, description)) => tell(code, &refused(code, description)),
    }
}

fn as_answer(result: Result<Value, Refusal>) -> (u16, Value) {
    match result {
        Ok(result) => (200, json!({"ok": true, "result": result})),
        Err(refusal) => {
            let mut body = refused(refusal.code, &refusal.description);
            if !refusal.parameters.is_null() {
                body["parameters"] = refusal.parameters;
            }
            (refusal.code, body)
        }
    }
}

fn refused(code: u16, description: &str) -> Value {
    json!({"ok": false, "error_code": code, "description": description})
}

fn download(token: &str, path: &str, stream: &TcpStream, shared: &Shared) -> Result<(), Over> {
    let params = Params::default();
    let (number, trouble) = shared.change(|world| world.begin_call("(download)", &params));
    match trouble {
        Some(Trouble::Hang) => return rest(stream, shared, None),
        Some(Trouble::BadGateway) => {
            return write_all(stream, 502, "text/html", BAD_GATEWAY.as_bytes());
        }
        Some(Trouble::Refused(code, description)) => {
            return write_json(stream, code, &refused(code, description));
        }
        Some(Trouble::Slow(time)) => rest(stream, shared, Some(time))?,
        Some(_) => return Err(Over),
        None => {}
    }
    let found = shared.change(|world| {
        world.end_call(number, Some(200), &json!({"path": path}));
        world.check_token(token).map(|()| world.file_at(path))
    });
    match found {
        Ok(Some(bytes)) => write_all(stream, 200, "application/octet-stream", &bytes),
        Ok(None) => write_json(stream, 404, &refused(404, "Not Found")),
        Err(refusal) => write_json(stream, refusal.code, &as_answer(Err(refusal)).1),
    }
}

// --- HTTP by hand ---

fn read_request(reader: &mut BufReader<&TcpStream>) -> io::Result<Request> {
    let request_line = read_line(reader)?;
    let target = request_line
        .split(' ')
        .nth(1)
        .unwrap_or_default()
        .to_owned();
    let (mut length, mut is_chunked, mut content_type) = (0, false, String::new());
    loop {
        let line = read_line(reader)?;
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().map_err(io::Error::other)?,
            "transfer-encoding" => is_chunked = value.eq_ignore_ascii_case("chunked"),
            "content-type" => content_type = value.to_owned(),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    while is_chunked {
        let size = usize::from_str_radix(&read_line(reader)?, 16).map_err(io::Error::other)?;
        let begin = body.len();
        body.resize(begin + size, 0);
        reader.read_exact(&mut body[begin..])?;
        read_line(reader)?;
        is_chunked = size > 0;
    }
    Ok(Request {
        target,
        content_type,
        body,
    })
}

fn read_line(reader: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    match reader.read_line(&mut line)? {
        0 => Err(ErrorKind::UnexpectedEof.into()),
        _ => Ok(line.trim_end().to_owned()),
    }
}

/// What a method is called with: in the query, and as JSON, as a form or in parts.
fn read_params(request: &Request, query: &str) -> Params {
    let mut params = Params::default();
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        params.insert(&name, value.into_owned());
    }
    let kind = request.content_type.to_ascii_lowercase();
    if kind.starts_with("application/json") {
        if let Ok(Value::Object(fields)) = serde_json::from_slice(&request.body) {
            params.fields.extend(fields);
        }
    } else if kind.starts_with("application/x-www-form-urlencoded") {
        for (name, value) in url::form_urlencoded::parse(&request.body) {
            params.insert(&name, value.into_owned());
        }
    } else if let Some((_, boundary)) = request.content_type.split_once("boundary=") {
        read_parts(&request.body, boundary.trim_matches('"'), &mut params);
    }
    params
}

/// Source: RFC 7578.
fn read_parts(body: &[u8], boundary: &str, params: &mut Params) {
    let mark = format!("\r\n--{boundary}").into_bytes();
    // As if a line had ended before the first one.
    let whole = [b"\r\n", body].concat();
    let mut rest = whole.as_slice();
    while let Some(begin) = find(rest, &mark) {
        rest = &rest[begin + mark.len()..];
        let Some(end) = find(rest, &mark) else {
            return;
        };
        if let Some(head_end) = find(&rest[..end], b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&rest[..head_end]).into_owned();
            add_part(&head, &rest[head_end + 4..end], params);
        }
    }
}

fn add_part(head: &str, bytes: &[u8], params: &mut Params) {
    let after = |mark: &str, end: &[char]| {
        let (_, value) = head.split_once(mark)?;
        value.split(end).next().map(str::to_owned)
    };
    let Some(name) = after(" name=\"", &['"']) else {
        return;
    };
    match after("filename=\"", &['"']) {
        Some(filename) => params.files.push(Sent {
            field: name,
            name: filename,
            mime: after("Content-Type: ", &['\r', '\n']).unwrap_or_default(),
            bytes: bytes.to_vec(),
        }),
        None => params.insert(&name, String::from_utf8_lossy(bytes).into_owned()),
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    memchr::memmem::find(bytes, wanted)
}

impl Params {
    /// A field that came as a text; what is JSON in it is read by whoever looks for that.
    fn insert(&mut self, name: &str, value: String) {
        self.fields.insert(name.to_owned(), Value::String(value));
    }
}

fn write_json(stream: &TcpStream, status: u16, body: &Value) -> Result<(), Over> {
    write_all(
        stream,
        status,
        "application/json",
        body.to_string().as_bytes(),
    )
}

fn write_all(stream: &TcpStream, status: u16, kind: &str, body: &[u8]) -> Result<(), Over> {
    write_head(stream, status, kind, body.len())?;
    write(stream, body)
}

fn write_head(stream: &TcpStream, status: u16, kind: &str, length: usize) -> Result<(), Over> {
    let head = format!(
        "HTTP/1.1 {status} Fake\r\nServer: nginx/1.18.0\r\nContent-Type: {kind}\r\n\
         Content-Length: {length}\r\nConnection: keep-alive\r\n\r\n"
    );
    write(stream, head.as_bytes())
}

fn write(mut stream: &TcpStream, bytes: &[u8]) -> Result<(), Over> {
    stream.write_all(bytes).map_err(|_| Over)
}

/// Waits so long, or for ever, with an eye on the client.
fn rest(stream: &TcpStream, shared: &Shared, time: Option<Duration>) -> Result<(), Over> {
    let end = time.map(|time| std::time::Instant::now() + time);
    while end.is_none_or(|end| std::time::Instant::now() < end) {
        if shared.is_stopped() || has_left(stream) {
            return Err(Over);
        }
        thread::sleep(GLANCE);
    }
    Ok(())
}

/// Whether the client is gone; one that waits sends nothing.
pub fn has_left(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let peeked = stream.peek(&mut [0]);
    stream.set_nonblocking(false).unwrap();
    match peeked {
        Ok(count) => count == 0,
        Err(error) => error.kind() != ErrorKind::WouldBlock,
    }
}
