//! The engine on a disk that loses power: what was acknowledged stays, and a client that saw more
//! of a reply than is left is told to go back.

use std::path::PathBuf;
use std::sync::Mutex;

use duragent::base::fs::SimDisk;

use super::client::Client;
use super::*;

fn world_on(disk: &SimDisk) -> World {
    let setup = Setup {
        on_disconnect: OnDisconnect::Continue,
        stop_was_clean: false,
        ..Setup::default()
    };
    let model = FakeModel::start();
    let store = FileStore::new(Arc::new(disk.clone()), PathBuf::from("/workspace"));
    World {
        sessions: start_with(store, providers(), &model.url(), &setup),
        model,
        folder: Arc::new(tempfile::tempdir().unwrap()),
        setup,
    }
}

#[test]
fn text_that_a_power_cut_took_is_taken_back_and_said_again() {
    for comes_back_early in [true, false] {
        let disk = SimDisk::new();
        let world = world_on(&disk);
        world.model.reply(text("lost words ").and_stall());
        let id = world.session();
        let mut client = Client::default();
        let mut attached = world.attach(&id);
        world.sessions.submit(&id, message("hello")).unwrap();
        client.read_until_said(&mut attached, "lost words ");

        let after = world_on(&disk.harshest_cut());
        let reply = "quite other words, and many more of them";
        after.model.reply(if comes_back_early {
            stall().and_text(reply)
        } else {
            text(reply)
        });
        after.sessions.recover(Recovery::TakeUp, || false).unwrap();
        if comes_back_early {
            after.model.wait_for_stalls(1);
            after.model.release();
        } else {
            after.wait_for(&id, is_turn_end);
        }
        client.read_on(&after, &id);
        assert_eq!(client.rewinds, 1);
    }
}

#[test]
fn a_power_cut_in_a_continuation_takes_back_no_more_than_it_took() {
    let disk = SimDisk::new();
    let world = world_on(&disk);
    world.model.reply(text("one ").and_stall());
    let id = world.session();
    let mut client = Client::default();
    let mut attached = world.attach(&id);
    world.sessions.submit(&id, message("count")).unwrap();
    client.read_until_said(&mut attached, "one ");

    // A kill first: the system has what was not synced.
    let disk = disk.fork();
    let world = world_on(&disk);
    world.model.reply(text("two ").and_stall());
    world.sessions.recover(Recovery::TakeUp, || false).unwrap();
    let begin = Begin::After(client.cursor);
    let mut attached = world
        .sessions
        .subscribe(&id, begin, Presence::default())
        .unwrap();
    client.read_until_said(&mut attached, "one two ");

    let world = world_on(&disk.harshest_cut());
    world.model.reply(text("three"));
    world.sessions.recover(Recovery::TakeUp, || false).unwrap();
    client.read_on(&world, &id);
    assert_eq!(client.rewinds, 1);
    let messages = world.sessions.messages(&id, 10, None).unwrap();
    assert_eq!(messages[1].content, "one three");
}

#[test]
fn what_was_acknowledged_survives_a_power_cut_at_any_moment() {
    const CUTS: u64 = 40;
    let disk = SimDisk::new();
    let world = world_on(&disk);
    let words = "word ".repeat(2_000);
    let pace = Duration::from_millis(1);
    world.model.default_reply(text(&words).each_after(pace));
    let id = world.session();
    let client = Mutex::new(Client::default());
    let mut acknowledged = Vec::new();
    let mut attached = world.attach(&id);
    let mut taken = Vec::new();
    let mut random = fastrand::Rng::with_seed(11);
    for cut in 0..CUTS {
        if cut % 4 == 0 {
            let content = format!("message {cut}");
            world.sessions.submit(&id, message(&content)).unwrap();
            acknowledged.push(content);
        }
        // Streams on for a while; the moment of the cut is what is tried.
        let until = Instant::now() + Duration::from_millis(random.u64(..40));
        while attached.wake().recv_deadline(until).is_ok() {
            let mut items = Vec::new();
            attached.pull(&mut items).unwrap();
            client.lock().unwrap().take(&items);
        }
        taken.push((
            disk.cut(&mut random),
            client.lock().unwrap().clone(),
            acknowledged.len(),
        ));
    }
    drop(attached);
    drop(world);
    for (disk, client, stored) in taken {
        check_after_cut(&disk, &id, client, &acknowledged[..stored]);
    }
}

fn check_after_cut(disk: &SimDisk, id: &SessionId, mut client: Client, acknowledged: &[String]) {
    let world = world_on(disk);
    world.model.default_reply(text("and so on"));
    let log = world.log(id);
    let stored: Vec<&str> = log
        .iter()
        .filter_map(|record| match &record.event {
            Event::UserMessage(message) => Some(message.content.as_str()),
            _ => None,
        })
        .collect();
    assert!(stored.starts_with(&acknowledged.iter().map(String::as_str).collect::<Vec<_>>()));
    assert!(
        log.last().unwrap().seq >= client.cursor.seq,
        "a record that was shown is gone"
    );
    world.sessions.recover(Recovery::TakeUp, || false).unwrap();
    client.read_on(&world, id);
}
