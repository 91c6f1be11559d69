//! Reads what is said to a bot, update by update.
//!
//! An update is confirmed by the offset of the next call, so only once it is taken in. What cannot be taken in
//! now waits at Telegram, its chat's later ones with it; other chats go on. What never can is set aside.
//!
//! Invariants:
//! - the offset passes no update that is not taken in, set aside, or none of ours;
//! - the updates of a chat are taken in in order;
//! - whatever a call brings, another one follows.
//!
//! Owned by: the thread `tg-poll`.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::base::stop::Stop;
use crate::base::thread::panic_text;
use crate::domain::ids::{GatewayName, SourceId};
use crate::domain::time::Timestamp;
use crate::gateway::health::GatewayHealth;
use crate::gateway::incoming::{Inbound, InboundEvent, Inlet, IntakeError, TakenIn};
use crate::gateway::set_aside::SetAsideLog;
use crate::gateway::telegram::bot::{BotClient, BotError};
use crate::gateway::telegram::update::{
    ALLOWED_UPDATES, BotUser, RawUpdate, UpdateMeaning, UpdateMessage, meaning,
};
use crate::gateway::telegram::{commands, media};

/// How long Telegram may wait for something to tell.
const POLL_SECONDS: u64 = 30;
/// A poll whose socket hangs is given up.
pub(super) const POLL_MAX: Duration = Duration::from_secs(POLL_SECONDS + 15);

/// An album is whole when none of it has come for so long …
const ALBUM_QUIET: Duration = Duration::from_millis(400);
/// … or since so long, or has so many.
const ALBUM_TIME_MAX: Duration = Duration::from_secs(1);
const ALBUM_FILES_MAX: usize = 10;

const WAIT_FIRST: Duration = Duration::from_millis(250);
/// Between tries to take an update in: those of other chats come as quickly.
const LATER_MAX: Duration = Duration::from_secs(2);
/// Between calls that fail.
const FAILED_MAX: Duration = Duration::from_secs(15);
/// Between calls with a token that is refused.
const REFUSED_MAX: Duration = Duration::from_secs(60);
/// However long Telegram asks us to wait: nobody is heard meanwhile.
const ASKED_WAIT_MAX: Duration = Duration::from_secs(3600);
/// A wait of that length is trouble, and so is an update that is late for so long.
const TROUBLE_AFTER: Duration = Duration::from_secs(60);
/// The commands are told again no earlier: each try that hangs delays a poll.
const COMMANDS_EVERY: Duration = Duration::from_secs(600);
/// So many updates a call brings at most: what comes after them waits for them.
const UPDATES_MAX: usize = 100;
/// An update that fails for so long, while others do not, is to blame itself.
const LATER_TIME_MAX: Duration = Duration::from_secs(60);
/// So many failures in a row are worth a word.
const FAILURES_TOLD: u32 = 3;

/// Reads what is said to a bot.
#[derive(Debug)]
pub(super) struct Poller {
    pub(super) client: Arc<BotClient>,
    pub(super) files: Arc<BotClient>,
    pub(super) gateway: GatewayName,
    pub(super) inlet: Arc<dyn Inlet>,
    pub(super) set_aside: SetAsideLog,
    pub(super) health: GatewayHealth,
    pub(super) stop: Stop,
    pub(super) state: PollState,
}

/// What is known from one call to the next.
#[derive(Debug, Default)]
pub(super) struct PollState {
    me: Option<BotUser>,
    /// When Telegram is to be told the commands; `None` once that is over.
    commands_due: Option<Instant>,
    /// Confirms what lies before it. None once that is known to be done: after a quiet week the numbers
    /// begin elsewhere.
    offset: Option<i64>,
    /// Updates that are taken in and not yet confirmed.
    done: BTreeSet<i64>,
    late: BTreeMap<i64, LateUpdate>,
    albums: BTreeMap<AlbumKey, GrowingAlbum>,
    /// Updates without a number that are set aside, as long as they are told again.
    nameless: BTreeSet<String>,
    is_behind: bool,
    failures: u32,
    last_taken: Option<Instant>,
}

/// Its chat's id, and its own.
type AlbumKey = (String, String);

/// An update that could not be taken in at first.
#[derive(Debug)]
struct LateUpdate {
    since: Instant,
    tries: u32,
    why: String,
}

/// An album of which more may come.
#[derive(Debug)]
struct GrowingAlbum {
    since: Instant,
    grew: Instant,
    count: usize,
}

/// One thing that arrived: an update, or those of an album.
#[derive(Debug)]
struct Arrival {
    ids: Vec<i64>,
    raw: Value,
    meaning: Result<UpdateMeaning, String>,
}

/// What becomes of an arrival.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    Done,
    /// The same, and it is to be confirmed before more is taken in.
    Ended,
    /// It is tried again, no earlier than in so long.
    Later(Duration),
}

impl Poller {
    /// Until the stop.
    pub(super) fn run(mut self) {
        while !self.stop.is_stopped() {
            let wait = match catch_unwind(AssertUnwindSafe(|| self.round())) {
                Ok(Ok(wait)) => wait,
                // It was cut off to end it.
                Ok(Err(_)) if self.stop.is_stopped() => return,
                Ok(Err(error)) => Some(self.failed(&error)),
                Err(panic) => Some(self.fell_over(panic_text(&*panic))),
            };
            if wait.is_some_and(|wait| self.stop.wait(wait)) {
                return;
            }
        }
    }

    /// Asks once, and takes in what came. Returns how long to wait before the next time.
    fn round(&mut self) -> Result<Option<Duration>, BotError> {
        let me = self.introduce()?;
        let timeout = if self.state.is_behind {
            0
        } else {
            POLL_SECONDS
        };
        let mut params = json!({"timeout": timeout, "allowed_updates": ALLOWED_UPDATES});
        if let Some(offset) = self.state.offset {
            params["offset"] = json!(offset);
        }
        let updates: Vec<Box<RawValue>> = self.client.call("getUpdates", &params)?;
        let updates: Vec<RawUpdate> = updates.iter().map(|raw| RawUpdate::read(raw)).collect();
        if !updates.is_empty() && updates.iter().all(|update| update.id.is_none()) {
            return Err(BotError::Garbled {
                method: "getUpdates",
            });
        }
        let now = Instant::now();
        let wait = self.take_all(updates, &me, now);
        self.state.failures = 0;
        self.tell_health(now);
        Ok(wait)
    }

    /// Telegram answers; says whether what it told can be taken in.
    fn tell_health(&self, now: Instant) {
        let late = self.state.late.values().min_by_key(|late| late.since);
        let late = late.filter(|late| now.saturating_duration_since(late.since) > TROUBLE_AFTER);
        let trouble = late.map(|late| {
            format!(
                "what was said on Telegram cannot be taken in, and waits there: {}",
                late.why
            )
        });
        match (self.health.set_trouble(trouble.clone()), trouble) {
            (true, Some(trouble)) => log::warn!("{}: {trouble}", self.gateway),
            (true, None) => log::info!("{}: Telegram is read again", self.gateway),
            (false, _) => {}
        }
    }

    /// The program failed at something other than an update; says so, and goes on.
    fn fell_over(&mut self, why: &str) -> Duration {
        self.state.failures = self.state.failures.saturating_add(1);
        let trouble = format!("reading from Telegram failed in this program: {why}");
        if self.health.set_trouble(Some(trouble.clone())) {
            log::error!("{}: {trouble}", self.gateway);
        }
        waited(self.state.failures, FAILED_MAX)
    }

    /// Who the bot is; asked for once.
    fn introduce(&mut self) -> Result<BotUser, BotError> {
        let me = match self.state.me.clone() {
            Some(me) => me,
            None => {
                let me: BotUser = self.client.call("getMe", &json!({}))?;
                log::info!("{}: @{} listens", self.gateway, me.username);
                self.state.commands_due = Some(Instant::now());
                self.state.me.insert(me).clone()
            }
        };
        let now = Instant::now();
        if self.state.commands_due.is_some_and(|due| due <= now) {
            let is_over = self.tell_commands();
            self.state.commands_due = (!is_over).then(|| now + COMMANDS_EVERY);
        }
        Ok(me)
    }

    /// Has Telegram show the commands; whether that is over. The bot works without them.
    fn tell_commands(&self) -> bool {
        let told = self
            .files
            .call::<bool>("setMyCommands", &commands::params());
        let Err(error) = told else {
            return true;
        };
        let is_final = error.says(400, "") || error.says(429, "");
        if is_final {
            log::warn!(
                "{}: Telegram does not show the commands: {error}",
                self.gateway
            );
        } else {
            log::debug!("{}: {error}", self.gateway);
        }
        is_final
    }

    /// Says what is wrong, mends what can be, and returns how long to wait.
    fn failed(&mut self, error: &BotError) -> Duration {
        self.state.failures = self.state.failures.saturating_add(1);
        let failures = self.state.failures;
        log::debug!("{}: {error}", self.gateway);
        let (trouble, wait_max) = match error {
            BotError::Refused { code: code @ (401 | 404), .. } => (
                Some(format!(
                    "Telegram refuses the bot's token ({code}): it was revoked, or is another's; @BotFather shows \
                     the one that holds"
                )),
                REFUSED_MAX,
            ),
            error if error.says(409, "webhook") => (self.end_webhook(), FAILED_MAX),
            BotError::Refused { code: 409, .. } => (
                Some(
                    "another program reads this bot's messages (409 from getUpdates): each gets some of them until \
                     one of the two is stopped"
                        .to_owned(),
                ),
                FAILED_MAX,
            ),
            BotError::Refused { retry_after: Some(seconds), .. } => {
                let asked = Duration::from_secs(*seconds);
                let trouble = format!("Telegram asks the bot to wait for {seconds} s: {error}");
                ((asked > TROUBLE_AFTER).then_some(trouble), asked.min(ASKED_WAIT_MAX))
            }
            error => (
                (failures >= FAILURES_TOLD).then(|| format!("Telegram is not reached: {error}")),
                FAILED_MAX,
            ),
        };
        if let Some(trouble) = trouble
            && self.health.set_trouble(Some(trouble.clone()))
        {
            log::warn!("{}: {trouble}", self.gateway);
        }
        match error {
            BotError::Refused {
                retry_after: Some(_),
                ..
            } => wait_max.max(waited(failures, FAILED_MAX)),
            _ => waited(failures, wait_max),
        }
    }

    /// As long as there is a webhook nobody can poll.
    fn end_webhook(&self) -> Option<String> {
        let kept = json!({"drop_pending_updates": false});
        match self.client.call::<bool>("deleteWebhook", &kept) {
            Ok(_) => {
                log::warn!(
                    "{}: a webhook was set for this bot, and is removed",
                    self.gateway
                );
                None
            }
            Err(error) => Some(format!(
                "a webhook is set for this bot (409 from getUpdates) and cannot be removed: {error}"
            )),
        }
    }

    /// Takes in what can be taken in now, and sets the offset behind it.
    fn take_all(
        &mut self,
        mut updates: Vec<RawUpdate>,
        me: &BotUser,
        now: Instant,
    ) -> Option<Duration> {
        // The offset is set by their order, whatever a server makes of it.
        updates.sort_by_key(|update| update.id);
        let ids: Vec<i64> = updates.iter().filter_map(|update| update.id).collect();
        if !ids.is_empty() {
            self.health.hear(Timestamp::from(SystemTime::now()));
        }
        // The others are confirmed.
        self.state.done.retain(|id| ids.contains(id));
        self.state.late.retain(|id, _| ids.contains(id));
        let hides_others = updates.len() >= UPDATES_MAX;
        self.keep_nameless(&updates);
        let arrivals = self.arrivals(updates, me);
        self.watch_albums(&arrivals, now);
        let mut blocked: BTreeSet<String> = BTreeSet::new();
        // A server that tells again what was confirmed is not asked as fast as it answers.
        let is_old = arrivals.is_empty() && !ids.is_empty();
        let mut wait = is_old.then_some(WAIT_FIRST);
        for arrival in arrivals {
            if self.stop.is_stopped() {
                return None;
            }
            let chat_id = arrival.chat_id().map(str::to_owned);
            if chat_id
                .as_ref()
                .is_some_and(|chat_id| blocked.contains(chat_id))
            {
                continue;
            }
            let ids = arrival.ids.clone();
            match self.fate(arrival, hides_others, now) {
                Fate::Done => self.state.done.extend(ids),
                // What comes after it waits for the next call, which confirms it.
                Fate::Ended => {
                    self.state.done.extend(ids);
                    wait = None;
                    break;
                }
                Fate::Later(later) => {
                    blocked.extend(chat_id);
                    wait = Some(wait.map_or(later, |wait| wait.min(later)));
                }
            }
        }
        let first_open = ids.iter().find(|id| !self.state.done.contains(id));
        self.state.is_behind = first_open.is_some();
        self.state.offset = match first_open {
            Some(id) => Some(*id),
            None => ids.last().map(|id| id.saturating_add(1)),
        };
        wait
    }

    /// What has no number can be neither confirmed nor known again: it is set aside once.
    fn keep_nameless(&mut self, updates: &[RawUpdate]) {
        let nameless = updates.iter().filter(|update| update.id.is_none());
        let mut told = BTreeSet::new();
        for update in nameless {
            let text = update.body.to_string();
            if !self.state.nameless.contains(&text) {
                let at = Timestamp::from(SystemTime::now());
                let kept = self
                    .set_aside
                    .keep(at, "none", "it has no number", &update.body);
                match kept {
                    Ok(()) => log::error!(
                        "{}: an update without a number is set aside in {}",
                        self.gateway,
                        self.set_aside.location()
                    ),
                    Err(error) => {
                        log::error!("{}: an update without a number: {error}", self.gateway);
                        continue;
                    }
                }
            }
            told.insert(text);
        }
        self.state.nameless = told;
    }

    /// What is new, those of an album together.
    fn arrivals(&self, updates: Vec<RawUpdate>, me: &BotUser) -> Vec<Arrival> {
        let mut arrivals: Vec<Arrival> = Vec::new();
        let mut albums: BTreeMap<AlbumKey, usize> = BTreeMap::new();
        for update in updates {
            let RawUpdate { id, body, fault } = update;
            let Some(id) = id.filter(|id| !self.state.done.contains(id)) else {
                continue;
            };
            let meaning = match fault {
                Some(fault) => Err(fault),
                None => match catch_unwind(|| meaning(&body, me)) {
                    Ok(meaning) => meaning.map_err(|error| error.to_string()),
                    Err(panic) => Err(panic_text(&*panic).to_owned()),
                },
            };
            let key = meaning.as_ref().ok().and_then(album_key);
            if let Some(place) = key.as_ref().and_then(|key| albums.get(key)) {
                arrivals[*place].absorb(id, body, meaning);
                continue;
            }
            albums.extend(key.map(|key| (key, arrivals.len())));
            arrivals.push(Arrival {
                ids: vec![id],
                raw: body,
                meaning,
            });
        }
        arrivals
    }

    fn watch_albums(&mut self, arrivals: &[Arrival], now: Instant) {
        let mut seen = BTreeMap::new();
        for arrival in arrivals {
            let Some(key) = arrival.meaning.as_ref().ok().and_then(album_key) else {
                continue;
            };
            let count = arrival.ids.len();
            let album = match self.state.albums.remove(&key) {
                Some(album) if album.count == count => album,
                Some(album) => GrowingAlbum {
                    grew: now,
                    count,
                    ..album
                },
                None => GrowingAlbum {
                    since: now,
                    grew: now,
                    count,
                },
            };
            seen.insert(key, album);
        }
        self.state.albums = seen;
    }

    fn fate(&mut self, arrival: Arrival, hides_others: bool, now: Instant) -> Fate {
        let Some(id) = arrival.ids.first().copied() else {
            return Fate::Done;
        };
        let meaning = match arrival.meaning {
            Ok(meaning) => meaning,
            Err(why) => return self.give_up(id, &why, &arrival.raw, now),
        };
        if let Some(wait) = self.album_wait(&meaning, now) {
            return Fate::Later(wait);
        }
        let Some(inbound) = self.inbound(id, meaning) else {
            return Fate::Done;
        };
        let taken = catch_unwind(AssertUnwindSafe(|| self.inlet.take(&self.gateway, inbound)));
        match taken {
            Ok(Ok(taken)) => {
                self.state.last_taken = Some(now);
                self.state.late.remove(&id);
                match taken {
                    TakenIn::Ended => Fate::Ended,
                    TakenIn::Stored | TakenIn::Repeated | TakenIn::Handled | TakenIn::Ignored => {
                        Fate::Done
                    }
                }
            }
            Ok(Err(IntakeError::Unreadable(why))) => self.give_up(id, &why, &arrival.raw, now),
            Ok(Err(IntakeError::Later(why))) => match self.is_to_blame(id, hides_others, now) {
                true => self.give_up(id, &why, &arrival.raw, now),
                false => self.later(id, &why, now),
            },
            Err(panic) => {
                let why = format!("the program failed: {}", panic_text(&*panic));
                self.give_up(id, &why, &arrival.raw, now)
            }
        }
    }

    /// How long to wait for more of an album.
    fn album_wait(&self, meaning: &UpdateMeaning, now: Instant) -> Option<Duration> {
        let album = self.state.albums.get(&album_key(meaning)?)?;
        if album.count >= ALBUM_FILES_MAX {
            return None;
        }
        let whole = (album.grew + ALBUM_QUIET).min(album.since + ALBUM_TIME_MAX);
        let wait = whole.saturating_duration_since(now);
        (!wait.is_zero()).then_some(wait)
    }

    fn inbound(&self, id: i64, meaning: UpdateMeaning) -> Option<Inbound> {
        let mut files = Vec::new();
        let what = match meaning {
            UpdateMeaning::Message(said) => {
                let UpdateMessage {
                    message,
                    files: sent,
                    ..
                } = *said;
                files = media::files(sent, &self.files);
                InboundEvent::Message(Box::new(message))
            }
            UpdateMeaning::Press(press) => InboundEvent::Press(press),
            UpdateMeaning::Migrated { from, to } => InboundEvent::Migrated { from, to },
            UpdateMeaning::State {
                chat_id,
                can_write,
                why,
            } => InboundEvent::State {
                chat_id,
                can_write,
                why,
            },
            UpdateMeaning::Nothing => return None,
        };
        Some(Inbound {
            what,
            key: SourceId::parse(&format!("telegram:{id}")).ok(),
            files,
        })
    }

    /// Others were taken in while this one never was. Where it `hides_others` none may be left to be.
    fn is_to_blame(&self, id: i64, hides_others: bool, now: Instant) -> bool {
        let late = self.state.late.get(&id);
        late.zip(self.state.last_taken)
            .is_some_and(|(late, taken)| {
                let over = late.since + LATER_TIME_MAX;
                taken > over || (hides_others && taken >= late.since && now > over)
            })
    }

    fn later(&mut self, id: i64, why: &str, now: Instant) -> Fate {
        let late = self.state.late.entry(id);
        let late = late.or_insert(LateUpdate {
            since: now,
            tries: 0,
            why: String::new(),
        });
        why.clone_into(&mut late.why);
        late.tries = late.tries.saturating_add(1);
        if late.tries == 1 {
            log::warn!(
                "{}: update {id} cannot be taken in now, and is tried again: {why}",
                self.gateway
            );
        }
        Fate::Later(waited(late.tries, LATER_MAX))
    }

    /// Keeps an update for the owner, and goes on.
    fn give_up(&mut self, id: i64, why: &str, raw: &Value, now: Instant) -> Fate {
        let at = Timestamp::from(SystemTime::now());
        match self.set_aside.keep(at, &id.to_string(), why, raw) {
            Ok(()) => {
                log::error!(
                    "{}: update {id} cannot be taken in, and is set aside in {}: {why}",
                    self.gateway,
                    self.set_aside.location()
                );
                self.state.late.remove(&id);
                Fate::Done
            }
            Err(error) => self.later(id, &format!("{why}; nor can it be set aside: {error}"), now),
        }
    }
}

impl Arrival {
    fn chat_id(&self) -> Option<&str> {
        self.meaning.as_ref().ok()?.chat_id()
    }

    /// Makes another update of the same album a part of it.
    fn absorb(&mut self, id: i64, update: Value, meaning: Result<UpdateMeaning, String>) {
        if let (Ok(UpdateMeaning::Message(album)), Ok(UpdateMeaning::Message(more))) =
            (&mut self.meaning, meaning)
        {
            album.absorb(*more);
            self.ids.push(id);
            self.raw = match self.raw.take() {
                Value::Array(mut all) => {
                    all.push(update);
                    Value::Array(all)
                }
                first => json!([first, update]),
            };
        }
    }
}

fn album_key(meaning: &UpdateMeaning) -> Option<AlbumKey> {
    match meaning {
        UpdateMeaning::Message(said) => Some((said.message.chat_id.clone(), said.album.clone()?)),
        UpdateMeaning::Press(_)
        | UpdateMeaning::Migrated { .. }
        | UpdateMeaning::State { .. }
        | UpdateMeaning::Nothing => None,
    }
}

/// Twice as long each time.
fn waited(tries: u32, max: Duration) -> Duration {
    let doublings = tries.saturating_sub(1).min(16);
    (WAIT_FIRST * (1 << doublings)).min(max)
}

#[cfg(test)]
mod tests;
