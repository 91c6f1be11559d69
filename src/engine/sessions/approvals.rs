//! Decisions on calls that wait for a person.

use crate::domain::event::{ApprovalKind, Decision, Event, SaidBy};
use crate::domain::ids::{Seq, SessionId};
use crate::domain::principal::Principal;
use crate::domain::state::Approval;
use crate::engine::error::EngineError;
use crate::engine::grants::GrantPlace;
use crate::engine::open::session::Session;
use crate::engine::sessions::Sessions;
use crate::engine::sessions::requests::Decided;
use crate::engine::watch::feed::Feed;
use crate::engine::watch::live::WatcherRole;
use crate::engine::watch::subscription::{Subscription, WatcherGuard};
use crate::store::ReadLimit;

impl Sessions {
    /// Decides the open question, and follows what comes of it until the turn ends or asks again:
    /// the subscription begins after the decision.
    pub fn approve(
        &self,
        id: &SessionId,
        call_id: &str,
        command: &str,
        decision: Decision,
        by: &Principal,
    ) -> Result<(Decided, Subscription), EngineError> {
        self.engine.draining.refuse()?;
        let session = self.engine.open.get(id)?;
        let watcher = WatcherGuard::take(&session, WatcherRole::Following);
        let cause = SaidBy {
            by: by.logged(),
            source_id: None,
        };
        let mut log = session.log();
        let events = decide_open(&session, call_id, Some(command), decision, cause)?;
        let Some(events) = events else {
            drop(log);
            return Err(self.why_not_pending(&session, call_id)?);
        };
        let records = session.commit(&mut log, events)?;
        drop(log);
        let seq = records.first().map_or(Seq::ZERO, |record| record.seq);
        self.set_going(&session);
        let subscription = watcher.show(&self.engine.parts.store, Feed::of_message(seq));
        Ok((Decided { seq }, subscription))
    }

    /// Why a call cannot be decided.
    pub(super) fn why_not_pending(
        &self,
        session: &Session,
        call_id: &str,
    ) -> Result<EngineError, EngineError> {
        /// How far back an answer is looked for.
        const BACK: ReadLimit = ReadLimit {
            records: 2000,
            bytes: 2 << 20,
        };
        let (last, is_asked) = {
            let live = session.live();
            (live.last_seq(), live.state.approval().is_some())
        };
        let records = self
            .engine
            .parts
            .store
            .records_before(&session.id, last.next(), BACK)?;
        let was_asked = records.iter().any(|record| {
            matches!(&record.event, Event::ApprovalRequired { call_id: asked, .. }
                if asked.as_str() == call_id)
        });
        Ok(match (was_asked, is_asked) {
            (true, _) => EngineError::AlreadyAnswered,
            (false, true) => EngineError::WrongCall(call_id.to_owned()),
            (false, false) => EngineError::NothingToApprove,
        })
    }
}

/// The decision on the open question, and behind it what it grants; `None` where that call is not asked about.
/// The caller holds `log`, so that it stays open, and writes them next, in one append: a torn one brings no grant
/// without its decision.
pub(super) fn decide_open(
    session: &Session,
    call_id: &str,
    command: Option<&str>,
    decision: Decision,
    cause: SaidBy,
) -> Result<Option<Vec<Event>>, EngineError> {
    let parts = &session.parts;
    let now = parts.ids.now();
    let place = GrantPlace::of(&*parts.store, &session.id);
    let live = session.live();
    let open = live.state.approval();
    let Some(open) = open.filter(|open| open.call_id.as_str() == call_id) else {
        return Ok(None);
    };
    if command.is_some_and(|command| command != open.command) {
        return Err(EngineError::WrongCommand);
    }
    let decision = decision_for(open, decision)?;
    let rules = match decision {
        Decision::AllowSession => open.session_rules.as_slice(),
        Decision::AllowOnce
        | Decision::AllowAlways
        | Decision::Deny
        | Decision::Retry
        | Decision::Skip
        | Decision::Worked => &[],
    };
    let mut by = cause.by;
    parts.redactor.redact_some(&mut by);
    let mut seq = live.last_seq().next();
    let mut events = vec![Event::ApprovalDecision {
        call_id: open.call_id.clone(),
        decision,
        by: by.clone(),
        source_id: cause.source_id,
    }];
    for rule in rules {
        seq = seq.next();
        let key = &parts.grant_key;
        events.push(key.grant(&place, seq, rule.clone(), by.clone(), now));
    }
    Ok(Some(events))
}

/// The decision in the words of what was asked.
fn decision_for(asked: &Approval, decision: Decision) -> Result<Decision, EngineError> {
    match (asked.kind, decision) {
        (ApprovalKind::Policy, Decision::AllowSession) if asked.session_rules.is_empty() => {
            Err(EngineError::Invalid(
                "no rule can allow this for the session: decision must be allow_once, allow_always or deny".to_owned(),
            ))
        }
        (ApprovalKind::Policy, Decision::AllowSession) => Ok(decision),
        (ApprovalKind::Policy, Decision::AllowOnce | Decision::AllowAlways | Decision::Deny) => {
            Ok(decision)
        }
        (ApprovalKind::Uncertain, Decision::Retry | Decision::AllowOnce) => Ok(Decision::Retry),
        (ApprovalKind::Uncertain, Decision::Skip | Decision::Deny) => Ok(Decision::Skip),
        (ApprovalKind::Uncertain, Decision::Worked) => Ok(Decision::Worked),
        (ApprovalKind::Policy, Decision::Retry | Decision::Skip | Decision::Worked) => Err(
            EngineError::Invalid("decision must be allow_once, allow_session, allow_always or deny".to_owned()),
        ),
        (ApprovalKind::Uncertain, Decision::AllowSession | Decision::AllowAlways) => Err(EngineError::Invalid(
            "decision must be retry, skip or worked".to_owned(),
        )),
    }
}
