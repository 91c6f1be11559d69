//! `getUpdates`: an offset confirms and deletes, the newest poll is the only one, and one that waits
//! wakes at once.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Shared;
use super::connection::{Params, has_left};
use super::methods::{Refusal, refuse};
use super::world::World;

/// How often a poll looks whether its client has left.
const GLANCE: Duration = Duration::from_millis(100);
/// How often a rival polls.
const RIVAL_EVERY: Duration = Duration::from_millis(50);
/// The longest poll. Source: the program of the true server.
const TIMEOUT_MAX: i64 = 50;
const LIMIT_MAX: usize = 100;

/// Answers a poll; `None` if nobody is there any more to take it.
pub fn poll(
    shared: &Shared,
    stream: &TcpStream,
    params: &Params,
) -> Option<Result<Value, Refusal>> {
    let limit = params
        .int("limit")
        .unwrap_or(100)
        .clamp(1, LIMIT_MAX as i64) as usize;
    let timeout = params.int("timeout").unwrap_or(0).clamp(0, TIMEOUT_MAX) as u64;
    let deadline = Instant::now() + Duration::from_secs(timeout);
    let began = shared.change(|world| {
        if world.webhook.is_some() {
            return Err(refuse(
                409,
                "Conflict: can't use getUpdates method while webhook is active; \
                 use deleteWebhook to delete the webhook first",
            ));
        }
        world.confirm(params.int("offset").unwrap_or(0));
        if let Some(kinds) = params.list("allowed_updates") {
            world.allow_updates(&kinds);
        }
        world.newest_poll += 1;
        Ok(world.newest_poll)
    });
    let ticket = match began {
        Ok(ticket) => ticket,
        Err(refusal) => return Some(Err(refusal)),
    };
    let mut world = shared.lock();
    loop {
        if shared.is_stopped() {
            return None;
        }
        if world.newest_poll != ticket || world.has_rival {
            let is_rivals = world.has_rival;
            drop(world);
            if is_rivals {
                std::thread::sleep(RIVAL_EVERY);
            }
            return Some(Err(conflict()));
        }
        if world.is_revoked {
            return Some(Err(refuse(401, "Unauthorized")));
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if !world.updates.is_empty() || left.is_zero() {
            return Some(Ok(batch(&world, limit)));
        }
        world = shared.wait(world, left.min(GLANCE));
        if has_left(stream) {
            return None;
        }
    }
}

fn batch(world: &World, limit: usize) -> Value {
    let updates = world.updates.iter().take(limit);
    json!(updates.map(|(_, update)| update).collect::<Vec<_>>())
}

fn conflict() -> Refusal {
    refuse(
        409,
        "Conflict: terminated by other getUpdates request; \
         make sure that only one bot instance is running",
    )
}

impl World {
    /// Deletes what lies before an offset; of a negative one, all but so many.
    fn confirm(&mut self, offset: i64) {
        let is_past = offset <= self.next_update;
        if offset > 0 && is_past {
            self.updates.retain(|(id, _)| *id >= offset);
        } else if offset < 0 {
            let kept = usize::try_from(-offset).unwrap();
            let gone = self.updates.len().saturating_sub(kept);
            self.updates.drain(..gone);
        }
    }
}

#[test]
fn the_kit_deletes_what_an_offset_confirms_and_nothing_else() {
    let ids = |world: &World| world.updates.iter().map(|(id, _)| *id).collect::<Vec<_>>();
    let mut world = World::of_bot(1, "b");
    world.next_update = 10;
    for _ in 0..5 {
        world.push_update(json!({"message": {}}));
    }
    world.confirm(0);
    world.confirm(10);
    assert_eq!(ids(&world), [10, 11, 12, 13, 14]);
    world.confirm(12);
    assert_eq!(ids(&world), [12, 13, 14]);
    // Of ids that there are not yet it knows nothing: they were drawn anew.
    world.confirm(700);
    assert_eq!(ids(&world), [12, 13, 14]);
    world.confirm(-1);
    assert_eq!(ids(&world), [14]);
    world.confirm(15);
    assert_eq!(ids(&world), [] as [i64; 0]);
}
