//! The page on gateways tells the protocol that there is.

use std::fs;
use std::path::Path;

use duragent::gateway::protocol::{GatewayCommand, GatewayEvent};
use serde_json::{Value, json};

use crate::tidy::blocks;

fn page() -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/gateways.md");
    fs::read_to_string(file).unwrap()
}

#[test]
fn the_conversation_on_the_page_is_one() {
    let conversation = blocks(&page(), "text").remove(0);
    let (mut asked, mut answered) = (Vec::new(), Vec::new());
    for line in conversation.lines() {
        let (from, message) = line.split_once(' ').unwrap();
        let value: Value = serde_json::from_str(message).unwrap();
        // Nothing in it is unknown, or called otherwise.
        if from == "→" {
            let command: GatewayCommand = serde_json::from_value(value.clone()).unwrap();
            assert_eq!(serde_json::to_value(&command).unwrap(), value);
            asked.extend(command.request_id().map(str::to_owned));
        } else {
            let event = GatewayEvent::parse(message).unwrap();
            let again = serde_json::to_value(&event).unwrap();
            for (key, value) in value.as_object().unwrap() {
                assert_eq!(again.get(key), Some(value), "{key} in {line}");
            }
            answered.extend(value["request_id"].as_str().map(str::to_owned));
        }
    }
    assert_eq!(asked, answered);
}

#[test]
fn every_command_and_event_of_the_page_is_known() {
    let page = page();
    let mut counts = [0, 0];
    for (index, heading) in ["### Commands\n", "### Events\n"].into_iter().enumerate() {
        let section = page.split(heading).nth(1).unwrap();
        let section = section.split("\n#").next().unwrap();
        for row in section.lines().filter(|line| line.starts_with("| `")) {
            let kind = row.split('`').nth(1).unwrap();
            if kind == "type" {
                continue;
            }
            let of_kind = json!({ "type": kind });
            let is_known = if index == 0 {
                let read = serde_json::from_value::<GatewayCommand>(of_kind);
                read.map_or_else(
                    |error| !error.to_string().contains("unknown variant"),
                    |_| true,
                )
            } else {
                let read = GatewayEvent::parse(&of_kind.to_string());
                read.map_or(true, |event| event != GatewayEvent::Unknown)
            };
            assert!(is_known, "{heading}: {kind}");
            counts[index] += 1;
        }
    }
    assert_eq!(counts, [8, 12]);
}
