//! The real binary, serving a workspace of its own on a port of its own.
//!
//! ```ignore
//! let workspace = Workspace::new();
//! workspace.echo_agent("echo");
//! let server = Server::start(&workspace, &[]);
//! let session = server.create_session("echo");
//! let mut stream = server.stream(&session, "hi");
//! assert_eq!(stream.expect("start").data["seq"], 2);
//! ```
//!
//! The program sees no variable of ours but `PATH`: no proxies, no keys but those of
//! [`Launch::env`]. It is killed when the [`Server`] is dropped.

#![allow(dead_code, reason = "a kit for every topic: each uses a part of it")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::process::end_of;

/// How long a test waits for what must happen: long enough for a machine that has much else to do.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// How often something is looked at that tells nobody when it changes.
const GLANCE: Duration = Duration::from_millis(10);

/// Looks again and again until there is what is looked for; panics when it does not come in time.
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        thread::sleep(GLANCE);
    }
}

/// Does something that must take less than `limit`, and again where it took longer, since the machine
/// may have been busy with something else: for as long as [`PATIENCE`] lasts.
pub fn within(limit: Duration, mut attempt: impl FnMut() -> Duration) {
    eventually(&format!("something takes less than {limit:?}"), || {
        (attempt() < limit).then_some(())
    });
}

/// Makes a program, in a process of its own: a child that another test starts meanwhile would hold
/// open what this process writes, and what somebody writes cannot be run.
pub fn write_program(path: &Path, text: &str) {
    let mut writer = Command::new("sh")
        .args(["-c", "cat > \"$1\" && chmod 755 \"$1\"", "sh"])
        .arg(path)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = writer.stdin.take().unwrap();
    input.write_all(text.as_bytes()).unwrap();
    drop(input);
    assert!(end_of(&mut writer).success());
}

/// A folder with a `.duragent/` in it, gone when it is dropped.
pub struct Workspace(TempDir);

impl Workspace {
    /// Of an owner who trusts all agents.
    pub fn new() -> Workspace {
        let workspace = Workspace::of_strangers();
        workspace.write(".config/duragent/config.yaml", "agents:\n  trust: all\n");
        workspace
    }

    /// Whose agents nobody trusts yet.
    pub fn of_strangers() -> Workspace {
        let workspace = Workspace(TempDir::new().unwrap());
        fs::create_dir_all(workspace.file(".duragent/agents")).unwrap();
        workspace
    }

    /// A command of the program, in the folder and with it for a home: of this machine's own
    /// environment it has nothing but `PATH`.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_duragent"));
        command
            .args(arguments)
            .current_dir(self.path())
            .env_clear()
            .env("PATH", std::env::var("PATH").unwrap_or_default())
            .env("HOME", self.path())
            .stdin(Stdio::null());
        command
    }

    /// What a command that must succeed prints.
    pub fn run(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments:?}: {told}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Trusts an agent with what it brings.
    pub fn trust(&self, agent: &str) {
        self.run(&["agent", "trust", agent, "--yes"]);
    }

    /// The folder that holds `duragent.yaml` and `.duragent/`.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// A file below the folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        let path = self.file(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.file(name)).unwrap_or_default()
    }

    /// `duragent.yaml`.
    pub fn config(&self, yaml: &str) {
        self.write("duragent.yaml", yaml);
    }

    /// An agent that streams the user's words back.
    pub fn echo_agent(&self, name: &str) {
        self.agent(name, "  model:\n    provider: echo\n    name: echo\n");
    }

    /// An agent whose model is at `base_url`, usually that of a `FakeModel`.
    pub fn openai_agent(&self, name: &str, base_url: &str) {
        self.agent(
            name,
            &format!(
                "  model:\n    provider: openai\n    name: fake\n    base_url: {base_url}\n  \
                 session:\n    on_disconnect: continue\n"
            ),
        );
    }

    /// An agent with this `spec`, indented by two.
    pub fn agent(&self, name: &str, spec: &str) {
        self.write(
            &format!(".duragent/agents/{name}/agent.yaml"),
            &format!(
                "apiVersion: duragent/v1alpha1\nkind: Agent\nmetadata:\n  name: {name}\nspec:\n{spec}"
            ),
        );
    }

    /// Changes the first event of a session that no server has open.
    pub fn change_start(&self, session: &str, change: impl FnOnce(&mut Value)) {
        let folder = format!(".duragent/sessions/{session}");
        let log = format!("{folder}/events.jsonl");
        let text = self.read(&log);
        let (first, rest) = text.split_once('\n').unwrap();
        let mut event: Value = serde_json::from_str(first).unwrap();
        // Events without a checksum are taken as they are.
        event.as_object_mut().unwrap().remove("crc");
        change(&mut event);
        self.write(&log, &format!("{event}\n{rest}"));
        // A snapshot, where there is one, tells of the event as it was.
        drop(fs::remove_file(self.file(&format!("{folder}/state.yaml"))));
    }

    /// The log of a session, line by line, without one that is being written.
    pub fn log_of(&self, session: &str) -> Vec<Value> {
        self.read(&format!(".duragent/sessions/{session}/events.jsonl"))
            .split_inclusive('\n')
            .filter(|line| line.ends_with('\n'))
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

/// How the program is started.
pub struct Launch<'a> {
    workspace: &'a Workspace,
    port: u16,
    args: Vec<String>,
    env: BTreeMap<String, String>,
    under: Vec<String>,
    before: Option<(Room, String)>,
}

/// What a shell that starts the program may change.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// Only itself: its limits, its umask.
    Own,
    /// What is mounted, too, for itself and the program.
    Mounts,
}

impl Room {
    /// Whether there is such a thing here: not every machine lets everybody mount.
    pub fn exists(self) -> bool {
        let mut shell = self.shell("mount -t tmpfs none /mnt");
        self == Room::Own || shell.output().is_ok_and(|output| output.status.success())
    }

    /// A shell without a terminal, which has the program's arguments as its own.
    fn shell(self, script: &str) -> Command {
        let mut command = Command::new("setsid");
        if self == Room::Mounts {
            command.args(["unshare", "--mount"]);
            if !rustix::process::geteuid().is_root() {
                command.args(["--user", "--map-root-user"]);
            }
            command.arg("--");
        }
        command.args(["sh", "-ec", script, "sh"]);
        command
    }
}

impl<'a> Launch<'a> {
    pub fn new(workspace: &'a Workspace) -> Launch<'a> {
        let path = std::env::var("PATH").unwrap_or_default();
        let env = [
            ("PATH", path.as_str()),
            ("HOME", workspace.path().to_str().unwrap()),
            ("RUST_BACKTRACE", "1"),
            ("OPENAI_API_KEY", "test-key-openai"),
            ("ANTHROPIC_API_KEY", "test-key-anthropic"),
            ("OPENROUTER_API_KEY", "test-key-openrouter"),
        ];
        Launch {
            workspace,
            port: 0,
            args: Vec::new(),
            before: None,
            env: env.map(|(name, value)| (name.into(), value.into())).into(),
            under: Vec::new(),
        }
    }

    /// Started by this program with these arguments, to which its own are added.
    pub fn under(mut self, program: &[&str]) -> Launch<'a> {
        self.under = program.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// On this port, as after a restart that clients are not to notice; on any unless given.
    pub fn port(mut self, port: u16) -> Launch<'a> {
        self.port = port;
        self
    }

    /// More arguments of `serve`.
    pub fn args(mut self, args: &[&str]) -> Launch<'a> {
        self.args.extend(args.iter().map(|arg| (*arg).to_owned()));
        self
    }

    pub fn env(mut self, name: &str, value: &str) -> Launch<'a> {
        self.env.insert(name.to_owned(), value.to_owned());
        self
    }

    pub fn without_env(mut self, name: &str) -> Launch<'a> {
        self.env.remove(name);
        self
    }

    /// What a shell without a terminal does first; it then becomes the program.
    pub fn after(mut self, room: Room, script: &str) -> Launch<'a> {
        let script = match room {
            Room::Own => format!("{script}\nexec \"$@\""),
            // What is mounted may hide the program: then it is what was opened before.
            Room::Mounts => format!(
                "exec 9<\"$1\"\n{script}\n\
                 if [ -x \"$1\" ]; then exec 9<&-; exec \"$@\"; fi\n\
                 shift; exec /proc/self/fd/9 \"$@\""
            ),
        };
        self.before = Some((room, script));
        self
    }

    /// `duragent serve --port …`, with its output in `serve.log`; not started yet.
    pub fn command(&self) -> Command {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.workspace.file("serve.log"))
            .unwrap();
        let program = [env!("CARGO_BIN_EXE_duragent")];
        let words: Vec<&str> = self
            .under
            .iter()
            .map(String::as_str)
            .chain(program)
            .collect();
        let mut command = match &self.before {
            None => Command::new(words[0]),
            Some((room, script)) => {
                let mut shell = room.shell(script);
                shell.arg(words[0]);
                shell
            }
        };
        command
            .args(&words[1..])
            .args(["serve", "--port", &self.port.to_string()])
            .args(&self.args)
            .current_dir(self.workspace.path())
            .env_clear()
            .envs(&self.env)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        command
    }

    /// Starts it, and waits until it ends by itself.
    pub fn end(&self) -> ExitStatus {
        self.spawn(&mut self.command()).wait_for_exit()
    }

    /// Starts it as `command`, and waits for nothing.
    pub fn spawn(&self, command: &mut Command) -> Server {
        Server {
            child: command.spawn().unwrap(),
            remote: Remote::at(SocketAddr::from(([127, 0, 0, 1], 0))),
            workspace: self.workspace.path().to_owned(),
        }
    }

    /// Starts it and waits until it is ready.
    pub fn start(self) -> Server {
        // A server that was killed left its lock file, with its address in it.
        let stale = address_in(self.workspace);
        let mut server = self.spawn(&mut self.command());
        server.address = server.wait_until_ready(self.workspace, stale);
        server
    }
}

/// The running program; it is asked as a [`Remote`].
pub struct Server {
    child: Child,
    remote: Remote,
    workspace: PathBuf,
}

/// The API at an address, as clients reach it.
pub struct Remote {
    pub address: SocketAddr,
    /// Sent as the bearer token with each request.
    pub token: Option<String>,
}

impl Deref for Server {
    type Target = Remote;

    fn deref(&self) -> &Remote {
        &self.remote
    }
}

impl DerefMut for Server {
    fn deref_mut(&mut self) -> &mut Remote {
        &mut self.remote
    }
}

impl Server {
    /// `duragent serve --port 0 …` in this workspace; returns when `/readyz` says 200.
    pub fn start(workspace: &Workspace, args: &[&str]) -> Server {
        Launch::new(workspace).args(args).start()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What the program has printed so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.workspace.join("serve.log")).unwrap_or_default()
    }

    /// Sends SIGKILL and waits for the end.
    pub fn kill(&mut self) {
        // It may have ended by itself, which is as good.
        let _ = self.child.kill();
        end_of(&mut self.child);
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        self.signal(rustix::process::Signal::TERM);
    }

    /// Sends a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Waits for the program to end by itself.
    pub fn wait_for_exit(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(
                Instant::now() < deadline,
                "it does not end:\n{}",
                self.log()
            );
            thread::sleep(GLANCE);
        }
    }

    fn wait_until_ready(&mut self, workspace: &Workspace, stale: Option<SocketAddr>) -> SocketAddr {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("it ended with {status}:\n{}", self.log());
            }
            let address = address_in(workspace).filter(|address| self.is_ready(*address, stale));
            if let Some(address) = address {
                return address;
            }
            assert!(
                Instant::now() < deadline,
                "it is not ready:\n{}",
                self.log()
            );
            thread::sleep(GLANCE);
        }
    }

    /// Whether our own server answers there. The same port as before is possible, but then the
    /// lock file bears our process's number.
    fn is_ready(&self, address: SocketAddr, stale: Option<SocketAddr>) -> bool {
        let lock = fs::read_to_string(self.workspace.join(".duragent/lock")).unwrap_or_default();
        let is_ours = lock.contains(&self.pid().to_string());
        (is_ours || stale != Some(address))
            && exchange(address, "GET", "/readyz", &[], b"")
                .is_ok_and(|answer| answer.status == 200)
    }
}

impl Remote {
    pub fn at(address: SocketAddr) -> Remote {
        Remote {
            address,
            token: None,
        }
    }

    pub fn get(&self, path: &str) -> Answer {
        self.request("GET", path, &[], b"")
    }

    pub fn delete(&self, path: &str) -> Answer {
        self.request("DELETE", path, &[], b"")
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.send_json("POST", path, &[], body)
    }

    pub fn patch(&self, path: &str, body: &Value) -> Answer {
        self.send_json("PATCH", path, &[], body)
    }

    pub fn send_json(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> Answer {
        let mut all = vec![("Content-Type", "application/json")];
        all.extend_from_slice(headers);
        self.request(method, path, &all, body.to_string().as_bytes())
    }

    /// One request on a connection of its own; the whole answer.
    pub fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        exchange(self.address, method, path, &self.with_token(headers), body)
            .unwrap_or_else(|err| panic!("{method} {path}: {err}"))
    }

    /// `POST`; `None` when no whole answer comes, as from a server that is killed.
    pub fn try_post(&self, path: &str, body: &Value) -> Option<Answer> {
        let headers = self.with_token(&[("Content-Type", "application/json")]);
        let body = body.to_string();
        exchange(self.address, "POST", path, &headers, body.as_bytes()).ok()
    }

    /// Creates a session and returns its id.
    pub fn create_session(&self, agent: &str) -> String {
        let answer = self.post("/api/v1/sessions", &json!({ "agent": agent }));
        assert_eq!(answer.status, 201, "{}", answer.text());
        answer.json()["session_id"].as_str().unwrap().to_owned()
    }

    /// `POST …/messages`, blocking.
    pub fn say(&self, session: &str, content: &str) -> Answer {
        let path = format!("/api/v1/sessions/{session}/messages");
        self.post(&path, &json!({ "content": content }))
    }

    /// `POST …/stream`.
    pub fn stream(&self, session: &str, content: &str) -> EventStream {
        let path = format!("/api/v1/sessions/{session}/stream");
        let body = json!({ "content": content }).to_string();
        let headers = [("Content-Type", "application/json")];
        self.open_stream("POST", &path, &headers, body.as_bytes())
    }

    /// `GET …/events?{query}` as a stream; `last_event_id` resumes it.
    pub fn events(&self, session: &str, query: &str, last_event_id: Option<&str>) -> EventStream {
        let path = format!("/api/v1/sessions/{session}/events?{query}");
        let resume = last_event_id.map(|id| ("Last-Event-ID", id));
        let headers: Vec<_> = [("Accept", "text/event-stream")]
            .into_iter()
            .chain(resume)
            .collect();
        self.open_stream("GET", &path, &headers, b"")
    }

    /// Opens a stream of events; the answer must be one.
    pub fn open_stream(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> EventStream {
        self.try_stream(method, path, headers, body)
            .unwrap_or_else(|answer| panic!("{method} {path}: {} {}", answer.status, answer.text()))
    }

    /// Opens what may be a stream of events. Errors: the answer, when it is none.
    pub fn try_stream(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<EventStream, Answer> {
        let headers = self.with_token(headers);
        open_stream(self.address, method, path, &headers, body)
    }

    fn with_token<'h>(&'h self, headers: &[(&'h str, &'h str)]) -> Vec<(&'h str, String)> {
        let token = self.token.as_ref();
        headers
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()))
            .chain(token.map(|token| ("Authorization", format!("Bearer {token}"))))
            .collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            eprintln!("--- what the server said ---\n{}", self.log());
        }
    }
}

/// The address that the lock file names.
fn address_in(workspace: &Workspace) -> Option<SocketAddr> {
    let lock = workspace.read(".duragent/lock");
    let address = lock
        .lines()
        .find_map(|line| line.strip_prefix("address:"))?;
    address.trim().parse().ok()
}

// --- HTTP by hand: a client with habits of its own would hide those of the server ---

/// A whole answer.
#[derive(Debug, Default)]
pub struct Answer {
    pub status: u16,
    /// As sent.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|err| panic!("{err}: {} {:?}", self.status, self.text()))
    }
}

fn exchange(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, String)],
    body: &[u8],
) -> std::io::Result<Answer> {
    let mut reader = send(address, method, path, headers, body)?;
    let head = read_head(&mut reader)?;
    if method == "HEAD" {
        return Ok(head);
    }
    read_body(head, reader)
}

fn send(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, String)],
    body: &[u8],
) -> std::io::Result<BufReader<TcpStream>> {
    let mut socket = TcpStream::connect_timeout(&address, PATIENCE)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_nodelay(true)?;
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() || matches!(method, "POST" | "PATCH" | "PUT") {
        text.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    text.push_str("\r\n");
    socket.write_all(text.as_bytes())?;
    socket.write_all(body)?;
    Ok(BufReader::new(socket))
}

/// Errors: the answer, when it is no stream of events.
fn open_stream(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, String)],
    body: &[u8],
) -> Result<EventStream, Answer> {
    let mut reader = send(address, method, path, headers, body).unwrap();
    let head = read_head(&mut reader).unwrap();
    if head.header("Content-Type") != Some("text/event-stream") {
        return Err(read_body(head, reader).unwrap());
    }
    Ok(EventStream {
        is_chunked: head.header("Transfer-Encoding") == Some("chunked"),
        head,
        reader,
        text: Vec::new(),
        fields: BTreeMap::new(),
        has_begun: false,
        message: None,
        comments: Vec::new(),
    })
}

/// Status and headers; the body is still empty.
fn read_head(reader: &mut impl BufRead) -> std::io::Result<Answer> {
    let status_line = read_line(reader)?;
    let status = status_line
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok());
    let mut head = Answer {
        status: status.ok_or_else(|| std::io::Error::other(format!("{status_line:?}")))?,
        ..Answer::default()
    };
    loop {
        let line = read_line(reader)?;
        let Some((name, value)) = line.split_once(':') else {
            return Ok(head);
        };
        head.headers
            .push((name.to_owned(), value.trim().to_owned()));
    }
}

fn read_body(mut head: Answer, mut reader: impl BufRead) -> std::io::Result<Answer> {
    let length = head
        .header("Content-Length")
        .map(|text| text.parse().unwrap());
    if head.header("Transfer-Encoding") == Some("chunked") {
        while let Some(chunk) = read_chunk(&mut reader)? {
            head.body.extend(chunk);
        }
    } else if let Some(length) = length {
        head.body.resize(length, 0);
        reader.read_exact(&mut head.body)?;
    } else if head.status != 204 {
        reader.read_to_end(&mut head.body)?;
    }
    Ok(head)
}

/// The next chunk; `None` for the last one.
fn read_chunk(reader: &mut impl BufRead) -> std::io::Result<Option<Vec<u8>>> {
    let line = read_line(reader)?;
    let size = usize::from_str_radix(line.trim(), 16).map_err(std::io::Error::other)?;
    let mut chunk = vec![0; size];
    reader.read_exact(&mut chunk)?;
    read_line(reader)?;
    Ok((size > 0).then_some(chunk))
}

/// A line without its end.
///
/// Errors: the connection ended before it.
fn read_line(reader: &mut impl BufRead) -> std::io::Result<String> {
    let mut line = String::new();
    match reader.read_line(&mut line)? {
        0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(line.trim_end_matches(['\r', '\n']).to_owned()),
    }
}

// --- server-sent events ---

/// An event as it came.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub id: String,
    pub name: String,
    pub data: Value,
}

/// An open stream; dropping it leaves.
pub struct EventStream {
    /// Its status and headers.
    pub head: Answer,
    reader: BufReader<TcpStream>,
    is_chunked: bool,
    /// What has come and was not taken as an event yet.
    text: Vec<u8>,
    /// Of an event whose end has not come.
    fields: BTreeMap<String, String>,
    /// Whether an event came.
    has_begun: bool,
    /// The message whose pieces are coming.
    message: Option<String>,
    /// The comments so far, keep-alives among them.
    pub comments: Vec<String>,
}

impl EventStream {
    /// The next event; `None` when the stream has ended, cleanly or not. Panics when neither
    /// comes in time, whatever else does: signs of life are none of the stream's progress.
    pub fn next(&mut self) -> Option<Event> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < deadline, "no event came for {PATIENCE:?}");
            if let Some(event) = self.take_event() {
                return Some(event);
            }
            let piece = self.read_piece()?;
            self.text.extend(piece);
        }
    }

    /// The next event, which must be of that name.
    pub fn expect(&mut self, name: &str) -> Event {
        let event = self.next();
        let event = event.unwrap_or_else(|| panic!("the stream ended before `{name}`"));
        assert_eq!(event.name, name, "{event:?}");
        event
    }

    /// Everything up to an event of that name, itself included.
    pub fn until(&mut self, name: &str) -> Vec<Event> {
        let mut events = Vec::new();
        let deadline = Instant::now() + 6 * PATIENCE;
        loop {
            assert!(Instant::now() < deadline, "no `{name}` among {events:#?}");
            let event = self.next();
            let event = event.unwrap_or_else(|| panic!("no `{name}` after {events:#?}"));
            let is_last = event.name == name;
            events.push(event);
            if is_last {
                return events;
            }
        }
    }

    /// Reads until this comment has come; no event may come before it.
    pub fn expect_comment(&mut self, comment: &str) {
        let deadline = Instant::now() + 6 * PATIENCE;
        assert_eq!(self.take_event(), None, "before the comment {comment:?}");
        while !self.comments.iter().any(|known| known == comment) {
            assert!(Instant::now() < deadline, "no comment {comment:?}");
            let piece = self.read_piece();
            let piece = piece.unwrap_or_else(|| panic!("the stream ended without {comment:?}"));
            self.text.extend(piece);
            let event = self.take_event();
            assert_eq!(event, None, "before the comment {comment:?}");
        }
    }

    /// Everything up to the end of the stream.
    pub fn rest(&mut self) -> Vec<Event> {
        let deadline = Instant::now() + 6 * PATIENCE;
        let in_time = || {
            assert!(Instant::now() < deadline, "the stream has no end");
            self.next()
        };
        std::iter::from_fn(in_time).collect()
    }

    /// Reads the lines that have come, up to the end of the next event.
    fn take_event(&mut self) -> Option<Event> {
        while let Some(end) = self.text.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.text.drain(..=end).collect();
            let line = String::from_utf8(line).unwrap();
            match line.trim_end_matches('\n').split_once(':') {
                Some(("", comment)) => self.comments.push(comment.trim().to_owned()),
                Some((name, value)) => {
                    let value = value.strip_prefix(' ').unwrap_or(value).to_owned();
                    let before = self.fields.insert(name.to_owned(), value);
                    assert_eq!(before, None, "{name} stands twice: {:?}", self.fields);
                }
                None => {
                    assert_eq!(line, "\n", "it is no field");
                    return Some(self.end_event());
                }
            }
        }
        None
    }

    /// What an empty line ends. Some clients take whatever it ends for an event: so it always is one.
    fn end_event(&mut self) -> Event {
        let mut fields = std::mem::take(&mut self.fields);
        let retry = fields.remove("retry");
        let is_first = !std::mem::replace(&mut self.has_begun, true);
        assert_eq!(retry.as_deref(), is_first.then_some("1000"), "{fields:?}");
        let data = fields.remove("data");
        let data = data.unwrap_or_else(|| panic!("an event without data: {fields:?}"));
        let event = Event {
            id: fields.remove("id").unwrap_or_default(),
            name: fields.remove("event").unwrap_or_default(),
            data: serde_json::from_str(&data).unwrap(),
        };
        self.check_message(&event);
        event
    }

    /// All pieces of a message name it, and are known by what follows them.
    fn check_message(&mut self, event: &Event) {
        let id = event.data["message_id"].as_str();
        match event.name.as_str() {
            "token" => {
                let id = id.unwrap_or_else(|| panic!("of which message is {event:?}"));
                let known = self.message.get_or_insert_with(|| id.to_owned());
                assert_eq!(known, id, "two messages at once");
            }
            "message" | "done" => {
                if let Some(known) = self.message.take() {
                    assert_eq!(id, Some(known.as_str()), "{event:?}");
                }
            }
            // A `…/stream` shows no `message`: the next reply begins after the results.
            "rewind" | "tool_result" | "cancelled" | "error" => self.message = None,
            _ => {}
        }
    }

    /// What comes next; `None` at the end.
    fn read_piece(&mut self) -> Option<Vec<u8>> {
        let piece = if self.is_chunked {
            read_chunk(&mut self.reader)
        } else {
            let read = self.reader.fill_buf().map(<[u8]>::to_vec);
            self.reader.consume(read.as_ref().map_or(0, Vec::len));
            read.map(|piece| (!piece.is_empty()).then_some(piece))
        };
        match piece {
            Err(err) if is_timeout(&err) => panic!("nothing came for {PATIENCE:?}"),
            // A server that was killed ends nothing in good order.
            Err(_) => None,
            Ok(piece) => piece,
        }
    }
}

fn is_timeout(err: &std::io::Error) -> bool {
    use std::io::ErrorKind::{TimedOut, WouldBlock};
    matches!(err.kind(), TimedOut | WouldBlock)
}

/// The text that `token` events make up.
pub fn text_of(events: &[Event]) -> String {
    let tokens = events.iter().filter(|event| event.name == "token");
    tokens
        .map(|event| event.data["content"].as_str().unwrap())
        .collect()
}

#[test]
fn the_kit_reads_events_however_they_are_cut() {
    let body = "retry: 1000\nid: 1\nevent: start\ndata: {\"n\":1}\n\n: a comment\n\
                id: 2\nevent: token\ndata: {\"content\":\"\u{e4}\",\"message_id\":\"m\"}\n\n: the end\n";
    for size in 1..body.len() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
                        Transfer-Encoding: chunked\r\n\r\n";
            socket.write_all(head.as_bytes()).unwrap();
            for chunk in body.as_bytes().chunks(size) {
                write!(socket, "{:x}\r\n", chunk.len()).unwrap();
                socket.write_all(chunk).unwrap();
                socket.write_all(b"\r\n").unwrap();
            }
            socket.write_all(b"0\r\n\r\n").unwrap();
            // Not before the client has what it came for.
            let _ = std::io::Read::read_to_end(&mut socket, &mut Vec::new());
        });
        let mut stream = open_stream(address, "GET", "/", &[], b"").ok().unwrap();
        assert_eq!(stream.expect("start").data, json!({"n": 1}));
        let rest = stream.rest();
        assert_eq!(
            (rest[0].id.as_str(), text_of(&rest)),
            ("2", "\u{e4}".to_owned())
        );
        assert_eq!(stream.comments, ["a comment", "the end"]);
        drop(stream);
        server.join().unwrap();
    }
}
