//! One session from its creation to its end: a client that talks, and watchers that look on.
//!
//! Every client goes on after a lost connection with what it knows: the same key, or its last id.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;
use serde_json::{Value, json};

use crate::base::thread::{STACK_WORK, spawn};
use crate::client::new_key;
use crate::domain::event::{Event, OnDisconnect, Record};
use crate::domain::ids::SessionId;
use crate::torture::http::{self, Events, Fetched, HttpRequest, WholeAnswer};
use crate::torture::ledger::{SeenEvent, SeenOutcome, Sent, SessionFate, SessionLedger, Violation};
use crate::torture::plan::{self, Manner, PlannedEnd, PlannedMessage, PlannedSession};
use crate::torture::shown::{self, place_of};
use crate::torture::state::{ServerInstance, TortureState};

/// How long a message may be without an outcome, over all kills.
const OUTCOME_LIMIT: Duration = Duration::from_secs(120);
/// Between two tries of what failed.
const PAUSE: Duration = Duration::from_millis(15);

/// Plays one planned session after the other, until no new ones are to begin.
pub(super) fn play(state: &Arc<TortureState>, mut rng: Rng) {
    while !state.closing.is_stopped() {
        let act = plan::act(&mut rng);
        if play_one(state, &act, &mut rng).is_err() && state.abort.is_stopped() {
            return;
        }
    }
}

/// Why an act ends early: everything is to end, or a violation was noted.
struct Abandoned;

fn play_one(
    state: &Arc<TortureState>,
    act: &PlannedSession,
    rng: &mut Rng,
) -> Result<(), Abandoned> {
    let id = create(state, act, rng.u32(..4) == 0)?;
    let talker = TalkingClient {
        state,
        id: &id,
        act,
    };
    let goal = Arc::new(WatchGoal::default());
    let watchers: Vec<_> = (0..act.watchers)
        .filter_map(|number| {
            let (state, id, goal) = (Arc::clone(state), id.clone(), Arc::clone(&goal));
            let body = move || watch(&state, &id, number, &goal);
            spawn(format!("watch-{number}"), STACK_WORK, body).ok()
        })
        .collect();
    let said = talker.say_all(rng);
    let last_seq = said.and_then(|()| talker.last_turn_end());
    // Even without an end to wait for, watchers are not left behind.
    goal.set(last_seq.as_ref().map_or(0, |seq| *seq));
    drop(watchers);
    last_seq?;
    talker.take_leave()?;
    state.note(&id, |session| session.is_over = true);
    Ok(())
}

/// Creates a session; `again` asks once more with the same key.
fn create(state: &TortureState, act: &PlannedSession, again: bool) -> Result<SessionId, Abandoned> {
    let agent = match act.mode {
        OnDisconnect::Continue => "continues",
        OnDisconnect::Pause => "pauses",
    };
    let (key, body) = (new_key(), json!({ "agent": agent }));
    let request = HttpRequest {
        method: "POST",
        path: "/api/v1/sessions",
        headers: &[("idempotency-key", &key)],
        body: Some(&body),
    };
    let id = created(state, request)?;
    let known = SessionLedger::new(act.mode, act.watchers);
    state.ledger().sessions.insert(id.clone(), known);
    if again {
        let second = created(state, request)?;
        if second != id {
            let what = format!("its key created {second} as well");
            return Err(violation(state, Some(&id), what));
        }
    }
    Ok(id)
}

fn created(state: &TortureState, request: HttpRequest<'_>) -> Result<SessionId, Abandoned> {
    let deadline = Instant::now() + OUTCOME_LIMIT;
    let is_created = |answer: &WholeAnswer| matches!(answer.status, 200 | 201);
    let answer = until_done(state, deadline, request, is_created)?;
    let id = text(&answer.body, "session_id");
    id.and_then(|id| SessionId::parse(&id).ok())
        .ok_or_else(|| violation(state, None, "a creation without a session_id"))
}

/// Asks until `is_done`; lost connections and passing refusals are tried again.
fn until_done(
    state: &TortureState,
    deadline: Instant,
    request: HttpRequest<'_>,
    is_done: impl Fn(&WholeAnswer) -> bool,
) -> Result<WholeAnswer, Abandoned> {
    loop {
        let (_, server) = state.wait_for_server(0).ok_or(Abandoned)?;
        match http::ask(server, request) {
            Fetched::Answer(answer) if is_done(&answer) => return Ok(answer),
            Fetched::Answer(answer) => passing(state, &request, &answer)?,
            Fetched::Lost => {}
            Fetched::Hung => return Err(hung(state, request.path)),
        }
        if Instant::now() > deadline {
            let what = format!("{} {} was never done", request.method, request.path);
            return Err(violation(state, None, what));
        }
        thread::sleep(PAUSE);
    }
}

/// Whether a refusal is one that passes: an overload, a disk that failed, a server that ends.
fn passing(
    state: &TortureState,
    request: &HttpRequest<'_>,
    answer: &WholeAnswer,
) -> Result<(), Abandoned> {
    match answer.status {
        429 | 500 | 503 | 507 => Ok(()),
        status => {
            let HttpRequest { method, path, .. } = request;
            let what = format!(
                "{method} {path} was answered with {status}: {}",
                answer.body
            );
            Err(violation(state, None, what))
        }
    }
}

fn hung(state: &TortureState, path: &str) -> Abandoned {
    violation(state, None, format!("{path} hung"))
}

fn violation(state: &TortureState, id: Option<&SessionId>, what: impl Into<String>) -> Abandoned {
    state.violation(Violation {
        session: id.cloned(),
        what: what.into(),
    });
    Abandoned
}

fn text(value: &Value, field: &str) -> Option<String> {
    Some(value.get(field)?.as_str()?.to_owned())
}

/// The client that talks.
struct TalkingClient<'a> {
    state: &'a TortureState,
    id: &'a SessionId,
    act: &'a PlannedSession,
}

/// A message that has no outcome yet.
struct PendingMessage<'l> {
    line: &'l PlannedMessage,
    key: String,
    /// Its place among the session's messages.
    number: usize,
    acknowledged: Option<(String, ServerInstance)>,
    deadline: Instant,
}

/// The text and the cursor that a stream has brought so far.
#[derive(Default)]
struct StreamProgress {
    text: String,
    last_id: Option<String>,
}

impl TalkingClient<'_> {
    fn say_all(&self, rng: &mut Rng) -> Result<(), Abandoned> {
        for line in &self.act.lines {
            if self.state.closing.is_stopped() {
                break;
            }
            let outcome = self.say(line, rng.u32(..4) == 0)?;
            if let SeenOutcome::Answered { message_id, text } = &outcome
                && rng.u32(..3) == 0
            {
                self.look_up(message_id, text)?;
            }
        }
        Ok(())
    }

    /// Says something until it has an outcome; `again` sends it once more afterwards.
    fn say(&self, line: &PlannedMessage, again: bool) -> Result<SeenOutcome, Abandoned> {
        let mut talk = self.begin(line);
        let outcome = match line.manner {
            Manner::StreamAndResume | Manner::StreamAgain => self.stream(&mut talk)?,
            Manner::Blocking => self.block(&mut talk)?,
            Manner::Async => self.send_and_wait(&mut talk)?,
        };
        self.note_end(&talk, &outcome);
        if again {
            self.send(&mut talk)?;
        }
        Ok(outcome)
    }

    fn begin<'l>(&self, line: &'l PlannedMessage) -> PendingMessage<'l> {
        let key = new_key();
        let mut number = 0;
        self.state.note(self.id, |session| {
            number = session.sent.len();
            session.sent.push(Sent {
                key: key.clone(),
                content: line.content.clone(),
                answer: line.answer.clone(),
                acknowledged: None,
                outcome: None,
            });
        });
        PendingMessage {
            line,
            key,
            number,
            acknowledged: None,
            deadline: Instant::now() + OUTCOME_LIMIT,
        }
    }

    /// Notes an acknowledgement; a second one must name the same message.
    fn acknowledge(
        &self,
        talk: &mut PendingMessage<'_>,
        id: Option<String>,
    ) -> Result<(), Abandoned> {
        let Some(id) = id else {
            return Err(self.broken("a message was acknowledged without an id"));
        };
        match &talk.acknowledged {
            Some((known, _)) if *known != id => {
                let what = format!("the message {known} was acknowledged again as {id}");
                return Err(self.broken(what));
            }
            Some(_) => return Ok(()),
            None => {}
        }
        let number = talk.number;
        let note = |session: &mut SessionLedger| {
            session.sent[number].acknowledged = Some(id.clone());
        };
        self.state.note(self.id, note);
        self.state.counts().messages += 1;
        talk.acknowledged = Some((id, self.state.place()));
        Ok(())
    }

    fn note_end(&self, talk: &PendingMessage<'_>, outcome: &SeenOutcome) {
        self.state.note(self.id, |session| {
            session.sent[talk.number].outcome = Some(outcome.clone());
        });
        let now = self.state.place();
        let resumed = talk.acknowledged.as_ref();
        let was_resumed = resumed.is_some_and(|(_, place)| place.life < now.life);
        if was_resumed {
            let resumed = now.exec_at.elapsed();
            self.state.counts().resumed.push(resumed);
        }
    }

    // --- streams ---

    fn stream(&self, talk: &mut PendingMessage<'_>) -> Result<SeenOutcome, Abandoned> {
        let mut heard = StreamProgress::default();
        loop {
            let (place, server) = self.state.wait_for_server(0).ok_or(Abandoned)?;
            match self.open(server, talk, &heard) {
                Fetched::Answer(Ok(events)) => {
                    if let Some(outcome) = self.listen(events, talk, &mut heard)? {
                        return Ok(outcome);
                    }
                    self.state.counts().reconnects += 1;
                    self.stay_away(talk, place)?;
                }
                Fetched::Answer(Err(answer)) => passing(self.state, &STREAM, &answer)?,
                Fetched::Lost => {}
                Fetched::Hung => return Err(hung(self.state, STREAM.path)),
            }
            self.check_deadline(talk)?;
            thread::sleep(PAUSE);
        }
    }

    fn open(
        &self,
        server: SocketAddr,
        talk: &PendingMessage<'_>,
        heard: &StreamProgress,
    ) -> Fetched<Result<Events, WholeAnswer>> {
        let resumes = talk.line.manner == Manner::StreamAndResume;
        match heard.last_id.as_ref().filter(|_| resumes) {
            Some(last_id) => open_events(server, self.id, last_id),
            None => {
                let body = json!({ "content": talk.line.content });
                let path = self.path("/stream");
                let headers = [("idempotency-key", talk.key.as_str())];
                http::open(server, post(&path, &headers, &body))
            }
        }
    }

    /// Reads until the turn ends, or the stream does.
    fn listen(
        &self,
        mut events: Events,
        talk: &mut PendingMessage<'_>,
        heard: &mut StreamProgress,
    ) -> Result<Option<SeenOutcome>, Abandoned> {
        let before = heard.text.clone();
        loop {
            let seen = match events.next() {
                Fetched::Answer(None) => continue,
                Fetched::Answer(Some(seen)) => seen,
                Fetched::Lost => break,
                Fetched::Hung => return Err(hung(self.state, STREAM.path)),
            };
            if let Some(outcome) = self.hear(&seen, talk, heard)? {
                return Ok(Some(outcome));
            }
        }
        let (old, new) = (before.as_str(), heard.text.as_str());
        if !old.starts_with(new) && !new.starts_with(old) {
            return Err(self.broken(format!("a reply was {old:?}, then {new:?}")));
        }
        // What was shown once must be shown again.
        if old.len() > new.len() {
            heard.text = before;
        }
        Ok(None)
    }

    fn hear(
        &self,
        seen: &SeenEvent,
        talk: &mut PendingMessage<'_>,
        heard: &mut StreamProgress,
    ) -> Result<Option<SeenOutcome>, Abandoned> {
        if !seen.id.is_empty() {
            heard.last_id = Some(seen.id.clone());
        }
        match seen.name.as_str() {
            "start" => {
                self.acknowledge(talk, text(&seen.data, "message_id"))?;
                heard.text.clear();
            }
            "token" => {
                heard.text += &text(&seen.data, "content").unwrap_or_default();
                self.state.counts().tokens += 1;
            }
            "done" => {
                let Some(message_id) = text(&seen.data, "message_id") else {
                    return Err(self.broken("a done without a message_id"));
                };
                let text = std::mem::take(&mut heard.text);
                return Ok(Some(SeenOutcome::Answered { message_id, text }));
            }
            // It is no end: the turn goes on, and who comes back sees it.
            "error" if shown::is_waiting(seen) => {}
            "error" | "cancelled" => return Ok(Some(SeenOutcome::Ended)),
            "rewind" | "gap" => {
                let what = format!("a {} after a mere kill, id {}", seen.name, seen.id);
                return Err(self.broken(what));
            }
            _ => {}
        }
        Ok(None)
    }

    /// Leaves the session without a client for a whole run of the server.
    fn stay_away(&self, talk: &PendingMessage<'_>, place: ServerInstance) -> Result<(), Abandoned> {
        if !self.act.stays_away || talk.acknowledged.is_none() {
            return Ok(());
        }
        let note = |life| {
            self.state
                .note(self.id, |session| session.absent_since = life)
        };
        note(Some(self.state.place().life.max(place.life)));
        let back = self.state.place().life + 2;
        while self.state.place().life < back && !self.state.closing.wait(PAUSE) {
            if self.state.abort.is_stopped() {
                return Err(Abandoned);
            }
        }
        note(None);
        Ok(())
    }

    // --- answers in one piece ---

    fn block(&self, talk: &mut PendingMessage<'_>) -> Result<SeenOutcome, Abandoned> {
        loop {
            let path = self.path("/messages");
            let body = json!({ "content": talk.line.content });
            let headers = [("idempotency-key", talk.key.as_str())];
            let request = post(&path, &headers, &body);
            let is_done = |answer: &WholeAnswer| matches!(answer.status, 200 | 202 | 500);
            let answer = until_done(self.state, talk.deadline, request, is_done)?;
            if answer.status == 200 {
                return self.take_answer(talk, &answer);
            }
            if let Some(id) = text(&answer.body, "message_id") {
                self.acknowledge(talk, Some(id))?;
            }
            // A turn that failed is answered like a disk that did: the log tells them apart.
            if self.is_over(talk)? {
                return Ok(SeenOutcome::Ended);
            }
            self.check_deadline(talk)?;
            thread::sleep(PAUSE);
        }
    }

    /// The answer of a blocking request names the reply, not the message.
    fn take_answer(
        &self,
        talk: &mut PendingMessage<'_>,
        answer: &WholeAnswer,
    ) -> Result<SeenOutcome, Abandoned> {
        let reply = text(&answer.body, "message_id").zip(text(&answer.body, "content"));
        let Some((message_id, text)) = reply else {
            return Err(self.broken(format!("no answer in {}", answer.body)));
        };
        if talk.acknowledged.is_none() {
            let stored = self.stored(talk)?;
            self.acknowledge(talk, stored)?;
        }
        Ok(SeenOutcome::Answered { message_id, text })
    }

    fn send_and_wait(&self, talk: &mut PendingMessage<'_>) -> Result<SeenOutcome, Abandoned> {
        self.send(talk)?;
        while !self.is_over(talk)? {
            self.check_deadline(talk)?;
            thread::sleep(PAUSE);
        }
        Ok(SeenOutcome::Ended)
    }

    /// Has the message stored, unless it is: then it must be the same one.
    fn send(&self, talk: &mut PendingMessage<'_>) -> Result<(), Abandoned> {
        let path = self.path("/messages");
        let body = json!({ "content": talk.line.content });
        let headers = [
            ("idempotency-key", talk.key.as_str()),
            ("prefer", "respond-async"),
        ];
        let request = post(&path, &headers, &body);
        let is_stored = |answer: &WholeAnswer| answer.status == 202;
        let answer = until_done(self.state, talk.deadline, request, is_stored)?;
        self.acknowledge(talk, text(&answer.body, "message_id"))
    }

    // --- the log, as the API shows it ---

    fn records(&self) -> Result<Vec<Record>, Abandoned> {
        let path = self.path("/events?limit=1000");
        let deadline = Instant::now() + OUTCOME_LIMIT;
        let is_done = |answer: &WholeAnswer| answer.status == 200;
        let answer = until_done(self.state, deadline, get(&path), is_done)?;
        let lines = answer.body["events"].as_array().cloned();
        let lines = lines.unwrap_or_default();
        let parsed = lines
            .iter()
            .map(|line| Record::parse(line.to_string().as_bytes()));
        let records: Result<Vec<Record>, _> = parsed.collect();
        records.map_err(|error| self.broken(format!("a page of events: {error}")))
    }

    /// The identifier of the message, if it is stored.
    fn stored(&self, talk: &PendingMessage<'_>) -> Result<Option<String>, Abandoned> {
        let records = self.records()?;
        let found = records.iter().find_map(|record| match &record.event {
            Event::UserMessage(message) if is_keyed(message, &talk.key) => {
                Some(message.message_id.to_string())
            }
            _ => None,
        });
        Ok(found)
    }

    /// Whether a turn has ended since the message was stored: there is one message at a time.
    fn is_over(&self, talk: &PendingMessage<'_>) -> Result<bool, Abandoned> {
        let records = self.records()?;
        let since = records.iter().skip_while(|record| match &record.event {
            Event::UserMessage(message) => !is_keyed(message, &talk.key),
            _ => true,
        });
        let mut since = since.map(|record| &record.event);
        Ok(since.any(|event| matches!(event, Event::TurnEnded { .. })))
    }

    fn last_turn_end(&self) -> Result<u64, Abandoned> {
        let records = self.records()?;
        let mut ends = records.iter().rev();
        let last = ends.find(|record| matches!(record.event, Event::TurnEnded { .. }));
        Ok(last.map_or(0, |record| record.seq.0))
    }

    /// After `done`, the history has the reply.
    fn look_up(&self, message_id: &str, content: &str) -> Result<(), Abandoned> {
        let path = self.path("/messages");
        let deadline = Instant::now() + OUTCOME_LIMIT;
        let is_done = |answer: &WholeAnswer| answer.status == 200;
        let answer = until_done(self.state, deadline, get(&path), is_done)?;
        let shown = answer.body["messages"].as_array().cloned();
        let is_there = shown
            .unwrap_or_default()
            .iter()
            .any(|message| message["message_id"] == message_id && message["content"] == content);
        if is_there {
            return Ok(());
        }
        Err(self.broken(format!("/messages lacks {message_id} after its done")))
    }

    fn take_leave(&self) -> Result<(), Abandoned> {
        let path = match self.act.farewell {
            PlannedEnd::Keep => return Ok(()),
            PlannedEnd::End => self.path("?keep=true"),
            PlannedEnd::Delete => self.path(""),
        };
        let request = HttpRequest {
            method: "DELETE",
            ..get(&path)
        };
        let deletes = self.act.farewell == PlannedEnd::Delete;
        if deletes {
            let note = |session: &mut SessionLedger| session.fate = SessionFate::Deleting;
            self.state.note(self.id, note);
        }
        // An answer that was lost leaves nothing to end, or to delete.
        let gone = if deletes { 404 } else { 410 };
        let is_done = |answer: &WholeAnswer| answer.status == 204 || answer.status == gone;
        let deadline = Instant::now() + OUTCOME_LIMIT;
        until_done(self.state, deadline, request, is_done)?;
        if deletes {
            let note = |session: &mut SessionLedger| session.fate = SessionFate::Deleted;
            self.state.note(self.id, note);
        }
        Ok(())
    }

    fn check_deadline(&self, talk: &PendingMessage<'_>) -> Result<(), Abandoned> {
        if Instant::now() < talk.deadline {
            return Ok(());
        }
        Err(self.broken(format!("the message {} got no answer", talk.key)))
    }

    fn broken(&self, what: impl Into<String>) -> Abandoned {
        violation(self.state, Some(self.id), what)
    }

    fn path(&self, rest: &str) -> String {
        session_path(self.id, rest)
    }
}

fn is_keyed(message: &crate::domain::event::UserMessage, key: &str) -> bool {
    let source = message.source_id.as_ref();
    source.is_some_and(|source| source.as_str() == key)
}

/// What a stream is called where no session is named.
const STREAM: HttpRequest<'_> = HttpRequest {
    method: "GET",
    path: "a stream",
    headers: &[],
    body: None,
};

fn session_path(id: &SessionId, rest: &str) -> String {
    format!("/api/v1/sessions/{id}{rest}")
}

fn get(path: &str) -> HttpRequest<'_> {
    HttpRequest {
        method: "GET",
        path,
        headers: &[],
        body: None,
    }
}

fn post<'a>(path: &'a str, headers: &'a [(&'a str, &'a str)], body: &'a Value) -> HttpRequest<'a> {
    HttpRequest {
        method: "POST",
        path,
        headers,
        body: Some(body),
    }
}

fn open_events(
    server: SocketAddr,
    id: &SessionId,
    last_id: &str,
) -> Fetched<Result<Events, WholeAnswer>> {
    let path = session_path(id, "/events");
    let headers = [("accept", "text/event-stream"), ("last-event-id", last_id)];
    let request = HttpRequest {
        headers: &headers,
        ..get(&path)
    };
    http::open(server, request)
}

/// The last event that watchers wait for, once the client that talks knows it.
#[derive(Debug, Default)]
struct WatchGoal {
    /// One more than its number; 0 while it is unknown.
    next: AtomicU64,
}

impl WatchGoal {
    fn set(&self, seq: u64) {
        self.next.store(seq + 1, Ordering::SeqCst);
    }

    fn is_known(&self) -> bool {
        self.next.load(Ordering::SeqCst) > 0
    }

    fn is_reached(&self, last_id: &str) -> bool {
        let next = self.next.load(Ordering::SeqCst);
        next > 0 && place_of(last_id).is_some_and(|(seq, _, _)| seq + 1 >= next)
    }
}

/// Watches a session from its beginning to the goal.
fn watch(state: &TortureState, id: &SessionId, number: usize, goal: &WatchGoal) {
    /// The cursor after the first event, which shows nothing.
    const BEGINNING: &str = "1";
    let mut last_id = BEGINNING.to_owned();
    let mut deadline = None;
    while !goal.is_reached(&last_id) {
        if goal.is_known() {
            let limit = deadline.get_or_insert_with(|| Instant::now() + OUTCOME_LIMIT);
            if Instant::now() > *limit {
                violation(state, Some(id), format!("watcher {number} gets no further"));
                return;
            }
        }
        let Some((_, server)) = state.wait_for_server(0) else {
            return;
        };
        if watch_once(state, id, number, goal, server, &mut last_id).is_err() {
            return;
        }
        thread::sleep(PAUSE);
    }
}

/// One connection of a watcher.
fn watch_once(
    state: &TortureState,
    id: &SessionId,
    number: usize,
    goal: &WatchGoal,
    server: SocketAddr,
    last_id: &mut String,
) -> Result<(), Abandoned> {
    let mut events = match open_events(server, id, last_id) {
        Fetched::Answer(Ok(events)) => events,
        Fetched::Answer(Err(answer)) => return passing(state, &STREAM, &answer),
        Fetched::Lost => return Ok(()),
        Fetched::Hung => return Err(hung(state, STREAM.path)),
    };
    state.counts().reconnects += 1;
    while !goal.is_reached(last_id) {
        match events.next() {
            Fetched::Answer(None) => {}
            Fetched::Answer(Some(seen)) => {
                state.counts().tokens += u64::from(seen.name == "token");
                last_id.clone_from(&seen.id);
                state.note(id, |session| session.watchers[number].push(seen));
            }
            Fetched::Lost => return Ok(()),
            Fetched::Hung => return Err(hung(state, STREAM.path)),
        }
    }
    Ok(())
}
