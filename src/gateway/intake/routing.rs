//! Which agent a chat goes to. Pure.

use crate::domain::ids::{AgentName, GatewayName};
use crate::gateway::protocol::MessageRouting;
use crate::gateway::settings::ChatRoute;

/// The agent of the first route that fits, if one does. `chat_ids` are the names that the chat has, and had.
pub(super) fn agent_of<'r>(
    routes: &'r [ChatRoute],
    gateway: &GatewayName,
    routing: &MessageRouting,
    chat_ids: &[String],
) -> Option<&'r AgentName> {
    let fits = |route: &&ChatRoute| {
        let mut conditions = route.conditions.iter();
        conditions.all(|(field, wanted)| match field.as_str() {
            "gateway" => wanted == gateway.as_str(),
            "channel" => *wanted == routing.channel,
            "chat_type" => wanted == routing.chat_type.as_str(),
            "chat_id" => *wanted == routing.chat_id || chat_ids.contains(wanted),
            "sender_id" => *wanted == routing.sender_id,
            other => routing.more.get(other) == Some(wanted),
        })
    };
    routes.iter().find(fits).map(|route| &route.agent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::protocol::ChatType;

    fn route(agent: &str, conditions: &[(&str, &str)]) -> ChatRoute {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        ChatRoute {
            conditions: conditions.iter().map(owned).collect(),
            agent: AgentName::parse(agent).unwrap(),
        }
    }

    #[test]
    fn the_first_route_all_of_whose_conditions_fit_is_taken() {
        let routing = MessageRouting {
            channel: "discord".to_owned(),
            chat_type: ChatType::Group,
            chat_id: "-7".to_owned(),
            sender_id: "42".to_owned(),
            more: [("guild_id".to_owned(), "9".to_owned())].into(),
        };
        let gateway = GatewayName::parse("chat").unwrap();
        let names = ["-7".to_owned(), "-5".to_owned()];
        for (routes, expected) in [
            (vec![], None),
            (vec![route("a", &[])], Some("a")),
            (vec![route("a", &[("gateway", "other")])], None),
            (vec![route("a", &[("gateway", "discord")])], None),
            (
                vec![
                    route("a", &[("chat_type", "dm")]),
                    route("b", &[("chat_type", "group"), ("sender_id", "42")]),
                    route("c", &[]),
                ],
                Some("b"),
            ),
            (
                vec![
                    route("a", &[("chat_type", "group"), ("sender_id", "43")]),
                    route("c", &[("gateway", "chat"), ("channel", "discord")]),
                ],
                Some("c"),
            ),
            (vec![route("a", &[("guild_id", "9")])], Some("a")),
            (vec![route("a", &[("guild_id", "8")])], None),
            (vec![route("a", &[("nothing", "")])], None),
            (vec![route("a", &[("chat_id", "-7")])], Some("a")),
            // The id that it had before.
            (vec![route("a", &[("chat_id", "-5")])], Some("a")),
        ] {
            let found = agent_of(&routes, &gateway, &routing, &names);
            assert_eq!(found.map(AgentName::as_str), expected, "{routes:?}");
        }
    }
}
