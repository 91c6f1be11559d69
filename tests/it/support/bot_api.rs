//! Telegram's Bot API on loopback, as strict as the true one, with people who write to a bot.
//!
//! ```ignore
//! let telegram = FakeTelegram::start();
//! let ann = telegram.person(42, "Ann");
//! telegram.says(&ann, "hi");
//! // … run the program with `api_url: {telegram.url()}`, `bot_token: {telegram.token()}` …
//! let shown = telegram.wait_for_text(ann.id, "hi");
//! assert_eq!(shown.edits.len(), 0);
//! ```
//!
//! - Updates wait until an offset confirms them, which deletes them. A newer poll ends an older one
//!   with 409. What a program that was killed had not confirmed comes again.
//! - What the true one refuses is refused in its words: tags, lengths, threads, data of buttons. A
//!   refusal that a careful program would not have caused is kept as a fault; dropping the
//!   `FakeTelegram` then panics, unless [`FakeTelegram::allow_faults`] was called.
//! - It has the true limits of rates ([`limits`]), and tells one who comes before its time.
//! - [`FakeTelegram::trouble`] has calls fail: see [`Trouble`].
//! - Its clock goes as the system's, and may be moved on ([`FakeTelegram::advance`]).
//! - It outlives the program under test: all state is here. Every call is kept
//!   ([`FakeTelegram::calls`]), and what each chat shows to a person ([`FakeTelegram::shown`]).
//!
//! Source: <https://core.telegram.org/bots/api>, and reports of what it does beyond that.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::print_stderr,
    missing_docs,
    unreachable_pub,
    reason = "a kit for tests and figures: each uses a part of it"
)]

mod connection;
pub mod html;
mod limits;
mod media;
mod methods;
mod people;
mod polling;
mod tests;
mod trouble;
mod world;

use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

pub use people::Person;
pub use trouble::Trouble;
pub use world::{Call, ShownMessage, Standing, World};

/// How long a test waits for what must happen: long enough for a machine that has much else to do.
const PATIENCE: Duration = Duration::from_secs(60);
/// The secret half of every token here: what must be found nowhere.
pub const TOKEN_SECRET: &str = "AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw";

/// The server; it ends with its connections when it is dropped.
pub struct FakeTelegram {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<thread::JoinHandle<()>>,
}

struct Shared {
    world: Mutex<World>,
    changed: Condvar,
    stopped: AtomicBool,
}

impl FakeTelegram {
    /// Starts it on a free port, with a bot of the name `ada_bot`.
    pub fn start() -> FakeTelegram {
        FakeTelegram::of_bot(7_700_001, "ada_bot")
    }

    /// The same with another bot.
    pub fn of_bot(id: i64, username: &str) -> FakeTelegram {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            world: Mutex::new(World::of_bot(id, username)),
            changed: Condvar::new(),
            stopped: AtomicBool::new(false),
        });
        let for_thread = Arc::clone(&shared);
        let acceptor = thread::spawn(move || connection::accept(&listener, &for_thread));
        FakeTelegram {
            address,
            shared,
            acceptor: Some(acceptor),
        }
    }

    /// What `api_url` is: `http://127.0.0.1:<port>`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What `bot_token` is.
    pub fn token(&self) -> String {
        self.shared.lock().token()
    }

    /// The `gateways.telegram` of `duragent.yaml`.
    pub fn settings(&self) -> String {
        let (token, url) = (self.token(), self.url());
        format!("{{enabled: true, bot_token: \"{token}\", api_url: \"{url}\"}}")
    }

    /// The bot, as people see it.
    pub fn bot(&self) -> Person {
        self.shared.lock().bot.clone()
    }

    // --- what it does otherwise than usual ---

    /// The next calls of `method` fail so, as many as `times` says; `*` stands for every method.
    pub fn trouble(&self, method: &str, times: usize, trouble: Trouble) {
        self.change(|world| world.plan(method, None, times, trouble));
    }

    /// The same for one chat.
    pub fn trouble_in(&self, chat: i64, method: &str, times: usize, trouble: Trouble) {
        self.change(|world| world.plan(method, Some(chat), times, trouble));
    }

    /// No call fails any more, but for those that fail already.
    pub fn no_more_trouble(&self) {
        self.change(|world| world.troubles.clear());
    }

    /// How many planned failures have not come.
    pub fn troubles_left(&self) -> usize {
        let world = self.shared.lock();
        world.troubles.iter().map(trouble::Planned::left).sum()
    }

    /// The token is revoked, or stands again.
    pub fn revoke(&self, is_revoked: bool) {
        self.change(|world| world.is_revoked = is_revoked);
    }

    /// Another program polls with the same token, again and again, or does no more.
    pub fn rival(&self, polls: bool) {
        self.change(|world| world.has_rival = polls);
    }

    /// Somebody had set a webhook.
    pub fn webhook(&self, url: &str) {
        self.change(|world| world.webhook = Some(url.to_owned()));
    }

    /// The ids of updates go on from here, as they do anywhere after a week without any.
    pub fn next_update_id(&self, id: i64) {
        self.change(|world| world.next_update = id);
    }

    /// Whether rates are limited: they are unless said otherwise.
    pub fn limited(&self, is_limited: bool) {
        self.change(|world| world.limits.set(is_limited));
    }

    /// Moves its clock on: limits fill up again, and queries grow old.
    pub fn advance(&self, time: Duration) {
        self.change(|world| world.clock.advance(time));
    }

    /// From now on so many of its seconds are one of the system's.
    pub fn speed(&self, factor: f64) {
        self.change(|world| world.clock.speed(factor));
    }

    // --- what happened ---

    /// Every call so far, in the order in which they came.
    pub fn calls(&self) -> Vec<Call> {
        self.shared.lock().calls.clone()
    }

    /// The calls of a method.
    pub fn calls_of(&self, method: &str) -> Vec<Call> {
        let calls = self.calls().into_iter();
        calls.filter(|call| call.method == method).collect()
    }

    /// What a person sees in a chat: each message as it is now, without those that were deleted.
    pub fn shown(&self, chat: i64) -> Vec<ShownMessage> {
        let world = self.shared.lock();
        let chat = world.chat(chat).expect("a chat of the test's");
        chat.shown().cloned().collect()
    }

    /// What the bot says in a chat.
    pub fn said_in(&self, chat: i64) -> Vec<ShownMessage> {
        let mut shown = self.shown(chat);
        shown.retain(|message| message.is_bots);
        shown
    }

    /// The texts of that.
    pub fn texts_in(&self, chat: i64) -> Vec<String> {
        let said = self.said_in(chat).into_iter();
        said.map(|message| message.text).collect()
    }

    /// Whether a person sees that the bot is at work.
    pub fn is_typing(&self, chat: i64) -> bool {
        self.shared.lock().is_typing(chat)
    }

    /// How many updates wait for their confirmation.
    pub fn pending(&self) -> usize {
        self.shared.lock().updates.len()
    }

    /// How many calls were answered with 429.
    pub fn floods(&self) -> usize {
        let calls = self.calls();
        calls.iter().filter(|call| call.status == Some(429)).count()
    }

    /// What a careful program would not have done.
    pub fn faults(&self) -> Vec<String> {
        self.shared.lock().faults.clone()
    }

    /// Keeps `drop` from panicking for them.
    pub fn allow_faults(&self) {
        self.shared.lock().are_faults_allowed = true;
    }

    /// Its clock, since it began.
    pub fn now(&self) -> Duration {
        self.shared.lock().clock.now()
    }

    // --- waiting ---

    /// Waits until `look` finds what it looks for; panics with all calls when it does not in time.
    pub fn wait<T>(&self, what: &str, look: impl FnMut(&World) -> Option<T>) -> T {
        self.wait_for(PATIENCE, what, look)
    }

    /// The same with another patience.
    pub fn wait_for<T>(
        &self,
        patience: Duration,
        what: &str,
        mut look: impl FnMut(&World) -> Option<T>,
    ) -> T {
        let deadline = Instant::now() + patience;
        let mut world = self.shared.lock();
        loop {
            if let Some(found) = look(&world) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let told = world.told();
                drop(world);
                panic!("waited in vain for {what}; it has\n{told}");
            }
            world = self.shared.wait(world, left);
        }
    }

    /// Waits until a message of the bot's in a chat has this text, and returns it.
    pub fn wait_for_text(&self, chat: i64, text: &str) -> ShownMessage {
        self.wait_for_message(chat, text, |message| message.text == text)
    }

    /// Waits until a message of the bot's in a chat holds these words.
    pub fn wait_for_words(&self, chat: i64, words: &str) -> ShownMessage {
        self.wait_for_message(chat, words, |message| message.text.contains(words))
    }

    /// Waits until the bot has said so much in a chat.
    pub fn wait_for_messages(&self, chat: i64, count: usize) -> Vec<ShownMessage> {
        self.wait(&format!("{count} messages in {chat}"), |world| {
            let said = world.chat(chat)?.shown().filter(|message| message.is_bots);
            let said: Vec<ShownMessage> = said.cloned().collect();
            (said.len() >= count).then_some(said)
        })
    }

    /// Waits until a message of the bot's has buttons.
    pub fn wait_for_buttons(&self, chat: i64) -> ShownMessage {
        self.wait_for_message(chat, "buttons", |message| !message.buttons.is_empty())
    }

    /// Waits for so many calls of a method.
    pub fn wait_for_calls(&self, method: &str, count: usize) -> Vec<Call> {
        self.wait(&format!("{count} calls of {method}"), |world| {
            let calls = world.calls.iter().filter(|call| call.method == method);
            let calls: Vec<Call> = calls.cloned().collect();
            (calls.len() >= count).then_some(calls)
        })
    }

    /// Waits until every update so far is confirmed.
    pub fn wait_until_confirmed(&self) {
        self.wait("all is confirmed", |world| {
            world.updates.is_empty().then_some(())
        });
    }

    fn wait_for_message(
        &self,
        chat: i64,
        what: &str,
        fits: impl Fn(&ShownMessage) -> bool,
    ) -> ShownMessage {
        self.wait(&format!("{what:?} in {chat}"), |world| {
            let mut said = world.chat(chat)?.shown().filter(|message| message.is_bots);
            said.find(|message| fits(message)).cloned()
        })
    }

    fn change<T>(&self, change: impl FnOnce(&mut World) -> T) -> T {
        self.shared.change(change)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, World> {
        // A test that failed with the lock held must not hide its own message.
        self.world
            .lock()
            .unwrap_or_else(|poison| poison.into_inner())
    }

    fn change<T>(&self, change: impl FnOnce(&mut World) -> T) -> T {
        let result = change(&mut self.lock());
        self.changed.notify_all();
        result
    }

    fn wait<'a>(&self, world: MutexGuard<'a, World>, time: Duration) -> MutexGuard<'a, World> {
        let waited = self.changed.wait_timeout(world, time);
        waited.unwrap_or_else(|poison| poison.into_inner()).0
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }
}

impl Drop for FakeTelegram {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        self.shared.changed.notify_all();
        // The connection wakes the acceptor.
        drop(TcpStream::connect(self.address));
        if let Some(acceptor) = self.acceptor.take() {
            drop(acceptor.join());
        }
        let world = self.shared.lock();
        for socket in world.sockets.values() {
            drop(socket.shutdown(Shutdown::Both));
        }
        if thread::panicking() {
            eprintln!("--- what Telegram has ---\n{}", world.told());
        } else if !world.are_faults_allowed {
            let faults = &world.faults;
            assert!(
                faults.is_empty(),
                "a careful program would not: {faults:#?}"
            );
        }
    }
}

/// A value's field as a text, where it is one.
fn text_at<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or_default()
}
