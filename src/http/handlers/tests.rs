use super::*;

use crate::base::socket_owner::Ends;
use crate::domain::event::{Decision, Status};
use crate::domain::ids::{SessionId, TokenName};
use crate::domain::principal::{Principal, Way};
use crate::engine::{Begin, ListQuery};
use crate::http::handlers::dispatch::check_accept;
use crate::http::jobs::OtherRequest;
use crate::http::problem::HttpProblem;
use crate::http::query::Query;
use crate::http::requester::{Credential, Requester};
use crate::http::route::ApiRoute;

const ID: &str = "session_01J0000000000000000000000A";

/// A request as a test writes it down.
#[derive(Default)]
struct Asked {
    headers: Vec<(&'static str, &'static str)>,
    query: &'static str,
    body: &'static str,
    requester: Option<Requester>,
}

impl ApiRequest for Asked {
    fn method(&self) -> &str {
        "POST"
    }

    fn path(&self) -> &str {
        "/"
    }

    fn query(&self) -> &str {
        self.query
    }

    fn values(&self, name: &str) -> Vec<&str> {
        let named = self.headers.iter().filter(|(known, _)| *known == name);
        named.map(|(_, value)| *value).collect()
    }

    fn body(&self) -> &[u8] {
        self.body.as_bytes()
    }

    fn requester(&self) -> Option<&Requester> {
        self.requester.as_ref()
    }

    fn ends(&self) -> Ends {
        unreachable!("no test of these asks for a route that matters")
    }
}

fn alice() -> Principal {
    Principal::Token(TokenName::parse("alice").unwrap())
}

fn id() -> SessionId {
    SessionId::parse(ID).unwrap()
}

#[test]
fn a_message_takes_its_key_along() {
    let request = Asked {
        headers: vec![("Idempotency-Key", "k-1")],
        body: r#"{"content":"hi"}"#,
        ..Asked::default()
    };
    let (message, files) = conversation::new_message(&request, alice()).unwrap();
    assert!(files.is_empty());
    assert_eq!((message.content.as_str(), message.from), ("hi", alice()));
    assert_eq!(message.key.unwrap().as_str(), "k-1");
    assert!(!message.detached);

    let bad_key = Asked {
        headers: vec![("Idempotency-Key", "k 1")],
        ..request
    };
    assert_eq!(
        conversation::new_message(&bad_key, alice())
            .unwrap_err()
            .status(),
        400
    );
}

fn attached(
    query: &'static str,
    last_event_id: Option<&'static str>,
) -> Result<OtherRequest, HttpProblem> {
    let headers = last_event_id.map(|id| ("Last-Event-ID", id));
    let request = Asked {
        headers: headers.into_iter().collect(),
        query,
        ..Asked::default()
    };
    attaches(&request)
}

fn attaches(request: &Asked) -> Result<OtherRequest, HttpProblem> {
    let query = Query::parse(request.query)?;
    Ok(conversation::Attach::read(request, &query)?.job(id()))
}

#[test]
fn an_attaching_client_begins_where_it_says() {
    for (query, header, want) in [
        ("", None, "Now { history: 20 }"),
        ("history=0", None, "Now { history: 0 }"),
        ("history=1000", None, "Now { history: 1000 }"),
        (
            "",
            Some("7.2+120"),
            "After(Cursor { seq: Seq(7), part: Some(2), bytes: Some(120) })",
        ),
        (
            "last_event_id=9&history=3",
            None,
            "After(Cursor { seq: Seq(9), part: None, bytes: None })",
        ),
    ] {
        let OtherRequest::Attach { begin, .. } = attached(query, header).unwrap() else {
            panic!("{query} attaches");
        };
        assert_eq!(format!("{begin:?}"), want, "{query} {header:?}");
        assert_eq!(matches!(begin, Begin::After(_)), want.starts_with("After"));
    }
    for (query, header) in [
        ("history=1001", None),
        ("history=-1", None),
        ("readonly=perhaps", None),
        ("last_event_id=x", None),
        ("", Some("nonsense")),
    ] {
        let problem = attached(query, header).unwrap_err();
        assert_eq!(problem.status(), 400, "{query} {header:?}");
    }
}

#[test]
fn an_attaching_client_says_how_it_takes_part() {
    for (query, readonly, detaches) in [
        ("", false, false),
        ("readonly=true", true, false),
        ("detach_others=true", false, true),
    ] {
        let OtherRequest::Attach { presence, .. } = attached(query, None).unwrap() else {
            panic!("{query} attaches");
        };
        assert_eq!(presence.is_readonly, readonly, "{query}");
        assert_eq!(presence.detaches_others, detaches, "{query}");
    }
    let with_ticket = Asked {
        query: "readonly=false&detach_others=true",
        requester: Some(Requester {
            principal: Principal::Owner,
            credential: Credential::Ticket,
            way: Way::Local,
        }),
        ..Asked::default()
    };
    let OtherRequest::Attach { presence, .. } = attaches(&with_ticket).unwrap() else {
        panic!("a ticket attaches");
    };
    assert!(presence.is_readonly && !presence.detaches_others);
}

#[test]
fn a_list_may_be_spread_over_several_headers() {
    let request = Asked {
        headers: vec![("Accept", "text/html"), ("Accept", "application/json")],
        ..Asked::default()
    };
    assert_eq!(
        request.list("Accept").as_deref(),
        Some("text/html, application/json")
    );
    assert_eq!(request.list("Prefer"), None);
}

#[test]
fn a_list_of_sessions_takes_its_filters_from_the_query() {
    let parse = |text: &str| sessions::list_query(&Query::parse(text).unwrap(), alice());
    let ListQuery {
        limit,
        cursor,
        status,
        agent,
        owner,
    } = parse(&format!("limit=5&cursor={ID}&status=paused&agent=a")).unwrap();
    assert_eq!((limit, cursor), (5, Some(id())));
    assert_eq!(
        (status, agent),
        (Some(Status::Paused), Some("a".to_owned()))
    );
    assert_eq!(owner, Some(alice()));
    assert_eq!(parse("").unwrap().limit, 100);
    for text in ["limit=0", "limit=1001", "cursor=x", "status=asleep"] {
        assert_eq!(parse(text).unwrap_err().status(), 400, "{text}");
    }
}

#[test]
fn a_decision_is_read_and_its_thread_bears_the_session_s_name() {
    let request = Asked {
        body: r#"{"call_id":"c","command":"ls","decision":"deny"}"#,
        ..Asked::default()
    };
    let job = conversation::approve(id(), &request, alice()).unwrap();
    assert_eq!(job.thread_name(), "wait-00000A");
    let OtherRequest::Decide { approve, by, .. } = job else {
        panic!("an approval decides");
    };
    assert_eq!((approve.decision, by), (Decision::Deny, alice()));
    assert_eq!(attached("", None).unwrap().thread_name(), "sse-00000A");
}

#[test]
fn an_accept_that_admits_nothing_of_ours_is_406() {
    for (route, accept, is_fine) in [
        (ApiRoute::Livez, Some("image/png"), true),
        (ApiRoute::Version, Some("image/png"), false),
        (ApiRoute::Version, None, true),
        (ApiRoute::Stream(id()), Some("*/*"), true),
        (ApiRoute::Stream(id()), Some("text/event-stream"), true),
        (ApiRoute::Stream(id()), Some("application/json"), false),
        (ApiRoute::Events(id()), Some("application/json"), true),
        (ApiRoute::Events(id()), Some("text/event-stream"), true),
        (ApiRoute::Events(id()), Some("text/html"), false),
        (ApiRoute::PostMessage(id()), Some("application/*"), true),
        (
            ApiRoute::PostMessage(id()),
            Some("text/event-stream"),
            false,
        ),
    ] {
        let checked = check_accept(&route, accept);
        assert_eq!(checked.is_ok(), is_fine, "{route:?} {accept:?}");
        if let Err(problem) = checked {
            assert_eq!(problem.status(), 406);
        }
    }
}
