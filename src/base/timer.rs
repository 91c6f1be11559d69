//! One thread for everything that is to happen later.
//!
//! Whoever wants something done says when, and what; the timer knows nothing of either. What is due
//! in a while ([`Due::In`]) goes by a clock that nobody can set. What is due at a time of day
//! ([`Due::At`]) goes by the one that somebody may, or that leaps when a machine hears the time from
//! the network: nobody tells of that, so that clock is looked at now and then, as long as such a
//! thing is due and no longer. With nothing due the thread sleeps for ever.
//!
//! Neither clock wakes a machine that sleeps, and the first stands still meanwhile: what became due
//! in its sleep happens late.
//!
//! Jobs run on this thread, one after another: what lasts is for a thread of its own.
//!
//! Invariants:
//! - no lock of this file is held while a job runs or is dropped, so a job may ask for another;
//! - after the stop no job begins.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crate::base::clock::Clock;
use crate::base::lock::lock;
use crate::base::thread::{self, Joined, STACK_WORK, panic_text};

/// How often the clock of the day is looked at while something is due on it within [`NEAR`].
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// How often while what is due on it is farther away: a clock without a battery may leap by decades.
const LOOK_EVERY_FAR: Duration = Duration::from_secs(3600);
/// What is due within this is worth more looks.
const NEAR: Duration = Duration::from_secs(24 * 3600);

/// When something is to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// After so long, whatever the clock of the day shows then.
    In(Duration),
    /// When the clock of the day shows this, or more.
    At(SystemTime),
}

/// Owns the thread. Dropping it waits for the job that runs, and forgets those that do not yet.
#[derive(Debug)]
pub struct Timer {
    handle: TimerHandle,
    // Joined after `drop` has stopped it.
    _thread: Joined,
}

impl Timer {
    /// Starts the thread, `timer`; `clock` shows the time of day.
    ///
    /// Errors: the system has no thread to give.
    pub fn start(clock: Arc<dyn Clock>) -> io::Result<Timer> {
        Timer::start_looking_every(LOOK_EVERY, clock)
    }

    fn start_looking_every(look_every: Duration, clock: Arc<dyn Clock>) -> io::Result<Timer> {
        let handle = TimerHandle(Arc::new(TimerState {
            clock,
            look_every,
            agenda: Mutex::default(),
            changed: Condvar::new(),
        }));
        let state = Arc::clone(&handle.0);
        let thread = thread::spawn("timer", STACK_WORK, move || run(&state))?;
        Ok(Timer {
            handle,
            _thread: thread,
        })
    }

    /// The way to ask for something, also for those who outlive the timer.
    pub fn handle(&self) -> TimerHandle {
        self.handle.clone()
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.handle.0.stop();
    }
}

/// The way to a timer. After its stop, what is asked for is forgotten at once.
#[derive(Debug, Clone)]
pub struct TimerHandle(Arc<TimerState>);

impl TimerHandle {
    /// Has `job` run once when it is due; see [`cancel`](TimerHandle::cancel).
    pub fn add(&self, due: Due, job: impl FnOnce() + Send + 'static) -> TimerKey {
        let mut job = Some(TimerJob::Once(Box::new(job)));
        let mut agenda = lock(&self.0.agenda);
        let key = agenda.key(due);
        if !agenda.is_stopped {
            agenda.insert(key, job.take());
            self.0.changed.notify_one();
        }
        drop(agenda);
        key
    }

    /// Takes a job back, unless it has begun; whether it was there.
    pub fn cancel(&self, key: TimerKey) -> bool {
        let job = lock(&self.0.agenda).remove(key);
        job.is_some()
    }

    /// A new alarm, which stays for as long as the timer does.
    pub fn alarm(&self) -> Alarm {
        let mut agenda = lock(&self.0.agenda);
        agenda.alarms.push(AlarmState::default());
        Alarm {
            timer: self.clone(),
            index: agenda.alarms.len() - 1,
        }
    }
}

/// Names a job, for who may want to take it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimerKey {
    when: When,
    /// Tells it from others of the same time, which come in the order in which they were asked for.
    number: u64,
}

/// Something that happens again and again, each time because somebody has asked for it, and once
/// for all who did.
#[derive(Debug, Clone)]
pub struct Alarm {
    timer: TimerHandle,
    index: usize,
}

impl Alarm {
    /// Says what is to happen. To be called before it may ring: without a job it rings for nobody.
    pub fn set_job(&self, job: impl Fn() + Send + Sync + 'static) {
        let job: Option<RingJob> = Some(Arc::new(job));
        let mut agenda = lock(&self.timer.0.agenda);
        if agenda.is_stopped {
            return;
        }
        let before = std::mem::replace(&mut agenda.alarms[self.index].job, job);
        drop(agenda);
        drop(before);
    }

    /// Has it ring in `after`, unless it will ring before that.
    pub fn ring_within(&self, after: Duration) {
        let state = &self.timer.0;
        let mut agenda = lock(&state.agenda);
        let key = agenda.key(Due::In(after));
        let is_earlier = |set: TimerKey| match (set.when, key.when) {
            (When::Passed(set), When::Passed(asked)) => set <= asked,
            (When::Dated(_), _) | (_, When::Dated(_)) => false,
        };
        let set = agenda.alarms[self.index].rings;
        if agenda.is_stopped || set.is_some_and(is_earlier) {
            return;
        }
        if let Some(later) = set {
            agenda.remove(later);
        }
        agenda.insert(key, Some(TimerJob::Ring(self.index)));
        agenda.alarms[self.index].rings = Some(key);
        state.changed.notify_one();
    }

    /// Takes back what was asked for so far.
    pub fn clear(&self) {
        let mut agenda = lock(&self.timer.0.agenda);
        if let Some(set) = agenda.alarms[self.index].rings.take() {
            agenda.remove(set);
        }
    }

    /// It will ring.
    pub fn is_set(&self) -> bool {
        lock(&self.timer.0.agenda).alarms[self.index]
            .rings
            .is_some()
    }
}

type RingJob = Arc<dyn Fn() + Send + Sync>;

enum TimerJob {
    Once(Box<dyn FnOnce() + Send>),
    /// The alarm of that index rings.
    Ring(usize),
}

/// What is due when; it is compared only with its like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    Passed(Instant),
    Dated(SystemTime),
}

struct TimerState {
    clock: Arc<dyn Clock>,
    look_every: Duration,
    agenda: Mutex<Agenda>,
    /// Told of each new job, and of the stop.
    changed: Condvar,
}

impl fmt::Debug for TimerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimerState").finish_non_exhaustive()
    }
}

impl TimerState {
    fn stop(&self) {
        let mut agenda = lock(&self.agenda);
        agenda.is_stopped = true;
        let forgotten = agenda.clear();
        self.changed.notify_one();
        drop(agenda);
        drop(forgotten);
    }
}

#[derive(Default)]
struct Agenda {
    passed: BTreeMap<(Instant, u64), TimerJob>,
    dated: BTreeMap<(SystemTime, u64), TimerJob>,
    alarms: Vec<AlarmState>,
    next_number: u64,
    is_stopped: bool,
}

#[derive(Default)]
struct AlarmState {
    job: Option<RingJob>,
    rings: Option<TimerKey>,
}

impl Agenda {
    fn key(&mut self, due: Due) -> TimerKey {
        let when = match due {
            Due::In(after) => When::Passed(instant_after(after)),
            Due::At(time) => When::Dated(time),
        };
        self.next_number += 1;
        TimerKey {
            when,
            number: self.next_number,
        }
    }

    fn insert(&mut self, key: TimerKey, job: Option<TimerJob>) {
        let Some(job) = job else { return };
        match key.when {
            When::Passed(at) => self.passed.insert((at, key.number), job),
            When::Dated(at) => self.dated.insert((at, key.number), job),
        };
    }

    fn remove(&mut self, key: TimerKey) -> Option<TimerJob> {
        match key.when {
            When::Passed(at) => self.passed.remove(&(at, key.number)),
            When::Dated(at) => self.dated.remove(&(at, key.number)),
        }
    }

    /// Forgets everything; what it returns is to be dropped without the lock.
    fn clear(&mut self) -> impl Any {
        (
            std::mem::take(&mut self.passed),
            std::mem::take(&mut self.dated),
            self.alarms
                .iter_mut()
                .map(std::mem::take)
                .collect::<Vec<_>>(),
        )
    }

    /// The first job that is due by now.
    fn take_due(&mut self, now: Instant, today: SystemTime) -> Option<Box<dyn FnOnce() + Send>> {
        let passed = self.passed.first_entry().filter(|one| one.key().0 <= now);
        let job = match passed {
            Some(one) => one.remove(),
            None => {
                let dated = self.dated.first_entry();
                dated.filter(|one| one.key().0 <= today)?.remove()
            }
        };
        match job {
            TimerJob::Once(job) => Some(job),
            TimerJob::Ring(index) => {
                let alarm = &mut self.alarms[index];
                alarm.rings = None;
                let job = alarm.job.clone();
                Some(Box::new(move || job.iter().for_each(|job| job())))
            }
        }
    }

    /// How long to sleep unless something changes; `None` for ever.
    fn rest(&self, now: Instant, today: SystemTime, look_every: Duration) -> Option<Duration> {
        let passes = self.passed.first_key_value();
        let passes = passes.map(|((at, _), _)| at.saturating_duration_since(now));
        let dated = self.dated.first_key_value().map(|((at, _), _)| {
            let left = at.duration_since(today).unwrap_or_default();
            if left <= NEAR {
                left.min(look_every)
            } else {
                (left - NEAR).min(LOOK_EVERY_FAR)
            }
        });
        passes.into_iter().chain(dated).min()
    }
}

/// That long from now; the system's clock cannot tell of times without end.
fn instant_after(after: Duration) -> Instant {
    const NEVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
    let now = Instant::now();
    now.checked_add(after).unwrap_or_else(|| now + NEVER)
}

fn run(state: &TimerState) {
    let mut agenda = lock(&state.agenda);
    while !agenda.is_stopped {
        let (now, today) = (Instant::now(), state.clock.now());
        match agenda.take_due(now, today) {
            Some(job) => {
                drop(agenda);
                run_one(job);
                agenda = lock(&state.agenda);
            }
            None => {
                let rest = agenda.rest(now, today, state.look_every);
                agenda = sleep(state, agenda, rest);
            }
        }
    }
}

fn sleep<'a>(
    state: &'a TimerState,
    agenda: MutexGuard<'a, Agenda>,
    rest: Option<Duration>,
) -> MutexGuard<'a, Agenda> {
    match rest {
        None => state.changed.wait(agenda),
        Some(rest) => state
            .changed
            .wait_timeout(agenda, rest)
            .map(|(agenda, _)| agenda)
            .map_err(|poison| PoisonError::new(poison.into_inner().0)),
    }
    .unwrap_or_else(PoisonError::into_inner)
}

/// A panic in a job is told, and is no reason to forget all the others.
fn run_one(job: Box<dyn FnOnce() + Send>) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(job)) {
        log::error!("a job of the timer panicked: {}", panic_text(&*panic));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::FakeClock;
    use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};

    const LONG: Duration = Duration::from_secs(3600);
    const DEADLINE: Duration = Duration::from_secs(20);

    fn noon() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(20_000 * 86_400 + 43_200)
    }

    /// A timer that looks often at a clock that the test sets, and a place for its jobs to tell.
    fn timer() -> (Timer, Arc<FakeClock>, Sender<u32>, Receiver<u32>) {
        let clock = Arc::new(FakeClock::at(noon()));
        let look_every = Duration::from_millis(2);
        let timer = Timer::start_looking_every(look_every, Arc::clone(&clock) as Arc<_>);
        let (told_tx, told_rx) = unbounded();
        (timer.unwrap(), clock, told_tx, told_rx)
    }

    fn tells(told_tx: &Sender<u32>, what: u32) -> impl FnOnce() + Send + use<> {
        let told_tx = told_tx.clone();
        move || told_tx.send(what).unwrap()
    }

    fn told(told_rx: &Receiver<u32>) -> u32 {
        told_rx.recv_timeout(DEADLINE).unwrap()
    }

    /// Waits until the timer has looked at what was asked for before.
    fn wait_for_a_look(timer: &Timer) {
        let (looked_tx, looked_rx) = unbounded();
        let look = move || looked_tx.send(()).unwrap();
        timer.handle().add(Due::In(Duration::ZERO), look);
        looked_rx.recv_timeout(DEADLINE).unwrap();
    }

    #[test]
    fn jobs_run_in_the_order_of_their_times_and_those_of_one_time_as_they_were_asked_for() {
        let (timer, clock, told_tx, told_rx) = timer();
        let handle = timer.handle();
        let told_of = |count: usize| -> Vec<u32> { (0..count).map(|_| told(&told_rx)).collect() };
        // Nothing is looked at before all is asked for.
        let (held_tx, held_rx) = unbounded::<()>();
        let holds = move || assert!(held_rx.recv().is_err());
        handle.add(Due::In(Duration::ZERO), holds);
        for (what, after) in [(3, 3), (1, 1), (2, 2)] {
            handle.add(Due::In(Duration::from_millis(after)), tells(&told_tx, what));
        }
        drop(held_tx);
        assert_eq!(told_of(3), [1, 2, 3]);
        for (what, after) in [(4, 3), (1, 1), (2, 2), (3, 2)] {
            let at = noon() + Duration::from_secs(after);
            handle.add(Due::At(at), tells(&told_tx, what));
        }
        clock.leap(10);
        assert_eq!(told_of(4), [1, 2, 3, 4]);
    }

    #[test]
    fn what_is_due_after_longer_than_any_clock_shows_waits_and_can_be_taken_back() {
        let (timer, _clock, told_tx, told_rx) = timer();
        let endless = Due::In(Duration::MAX);
        let key = timer.handle().add(endless, tells(&told_tx, 1));
        wait_for_a_look(&timer);
        assert!(told_rx.is_empty());
        assert!(timer.handle().cancel(key));
    }

    #[test]
    fn what_is_due_before_all_others_wakes_it() {
        let (timer, _clock, told_tx, told_rx) = timer();
        timer.handle().add(Due::In(LONG), tells(&told_tx, 1));
        wait_for_a_look(&timer);
        let soon = Due::In(Duration::from_millis(10));
        timer.handle().add(soon, tells(&told_tx, 2));
        assert_eq!(told(&told_rx), 2);
        assert!(told_rx.is_empty());
    }

    #[test]
    fn a_clock_that_leaps_brings_what_was_due_on_it_and_nothing_else() {
        let (timer, clock, told_tx, told_rx) = timer();
        timer
            .handle()
            .add(Due::At(noon() + LONG), tells(&told_tx, 1));
        timer.handle().add(Due::In(LONG), tells(&told_tx, 2));
        clock.leap(-7200);
        wait_for_a_look(&timer);
        clock.leap(7200 + 3599);
        wait_for_a_look(&timer);
        assert!(told_rx.is_empty());
        clock.leap(1);
        assert_eq!(told(&told_rx), 1);
        assert!(told_rx.is_empty());
    }

    #[test]
    fn it_sleeps_for_ever_with_nothing_due_and_looks_at_a_clock_only_for_what_is_due_on_it() {
        let now = Instant::now();
        let rest = |dues: &[Due]| {
            let mut agenda = Agenda::default();
            for due in dues {
                let mut key = agenda.key(*due);
                if let Due::In(after) = due {
                    key.when = When::Passed(now + *after);
                }
                agenda.insert(key, Some(TimerJob::Once(Box::new(|| {}))));
            }
            agenda.rest(now, noon(), LOOK_EVERY)
        };
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        let at = |seconds| Due::At(noon() + Duration::from_secs(seconds));
        for (dues, expected) in [
            (&[][..], None),
            (&[Due::In(100 * LONG)], seconds(100 * 3600)),
            (&[at(5)], seconds(5)),
            (&[at(3600)], seconds(60)),
            (&[at(86_400)], seconds(60)),
            (&[at(86_410)], seconds(10)),
            (&[at(50 * 365 * 86_400)], seconds(3600)),
            (&[at(3600), Due::In(Duration::from_secs(7))], seconds(7)),
            (&[Due::At(noon() - LONG)], seconds(0)),
        ] {
            assert_eq!(rest(dues), expected, "{dues:?}");
        }
    }

    #[test]
    fn an_alarm_rings_once_for_all_who_asked_and_at_the_first_of_their_times() {
        let (timer, _clock, told_tx, told_rx) = timer();
        let alarm = timer.handle().alarm();
        let rings = told_tx.clone();
        alarm.set_job(move || rings.send(1).unwrap());
        assert!(!alarm.is_set());
        alarm.ring_within(LONG);
        alarm.ring_within(Duration::from_millis(10));
        alarm.ring_within(LONG);
        assert!(alarm.is_set());
        assert_eq!(told(&told_rx), 1);
        assert!(!alarm.is_set());
        wait_for_a_look(&timer);
        assert!(told_rx.is_empty());
        for after in [20, 10] {
            alarm.ring_within(Duration::from_millis(after));
        }
        let last = Due::In(Duration::from_millis(30));
        timer.handle().add(last, tells(&told_tx, 2));
        assert_eq!([told(&told_rx), told(&told_rx)], [1, 2]);
        alarm.ring_within(LONG);
        alarm.clear();
        assert!(!alarm.is_set());
    }

    #[test]
    fn an_alarm_may_be_set_from_its_own_job() {
        let (timer, _clock, told_tx, told_rx) = timer();
        let alarm = timer.handle().alarm();
        let again = alarm.clone();
        alarm.set_job(move || {
            again.ring_within(Duration::ZERO);
            told_tx.send(1).unwrap();
        });
        alarm.ring_within(Duration::ZERO);
        assert_eq!([told(&told_rx), told(&told_rx)], [1, 1]);
    }

    #[test]
    fn what_was_taken_back_does_not_happen() {
        let (timer, _clock, told_tx, told_rx) = timer();
        let handle = timer.handle();
        let [passes, dated] = [Due::In(LONG), Due::At(noon() + LONG)];
        for due in [passes, dated] {
            let key = handle.add(due, tells(&told_tx, 1));
            assert!(handle.cancel(key));
            assert!(!handle.cancel(key));
        }
        drop(told_tx);
        let nobody_holds_it = Err(RecvTimeoutError::Disconnected);
        assert_eq!(told_rx.recv_timeout(DEADLINE), nobody_holds_it);
    }

    #[test]
    fn after_the_stop_nothing_is_held_and_nothing_begins() {
        let (timer, _clock, told_tx, told_rx) = timer();
        let handle = timer.handle();
        let alarm = handle.alarm();
        handle.add(Due::In(LONG), tells(&told_tx, 1));
        let rings = told_tx.clone();
        alarm.set_job(move || rings.send(2).unwrap());
        alarm.ring_within(LONG);
        drop(timer);
        handle.add(Due::In(Duration::ZERO), tells(&told_tx, 3));
        alarm.ring_within(Duration::ZERO);
        assert!(!alarm.is_set());
        drop(told_tx);
        let nobody_holds_it = Err(RecvTimeoutError::Disconnected);
        assert_eq!(told_rx.recv_timeout(DEADLINE), nobody_holds_it);
    }

    #[test]
    fn a_panic_in_a_job_leaves_the_others_alone() {
        let (timer, _clock, told_tx, told_rx) = timer();
        let panics = || panic!("in a test");
        timer.handle().add(Due::In(Duration::ZERO), panics);
        timer
            .handle()
            .add(Due::In(Duration::ZERO), tells(&told_tx, 1));
        assert_eq!(told(&told_rx), 1);
    }
}
