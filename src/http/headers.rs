//! What the headers of a request mean: media types, preferences, keys and cursors. Pure.
//!
//! Each function takes the values of its header, so that tests need no request.

use crate::domain::files::MediaType;
use crate::domain::ids::SourceId;
use crate::engine::Cursor;
use crate::http::problem::HttpProblem;

/// The media type of our answers.
pub const JSON: &str = "application/json";
/// The media type of our streams.
pub const EVENT_STREAM: &str = "text/event-stream";

/// An `Accept` admits a media type that one of its ranges fits; none at all admits everything.
///
/// Source: RFC 9110, section 12.5.1; of several ranges that fit, the most exact decides.
pub fn accepts(accept: Option<&str>, media_type: &str) -> bool {
    let Some(accept) = accept.filter(|accept| !accept.trim().is_empty()) else {
        return true;
    };
    let (group, _) = media_type.split_once('/').unwrap_or((media_type, ""));
    let precision = |range: &str| match range {
        "*/*" | "*" => Some(0),
        _ if range.eq_ignore_ascii_case(media_type) => Some(2),
        _ => {
            let whole_group = range.strip_suffix("/*")?;
            whole_group.eq_ignore_ascii_case(group).then_some(1)
        }
    };
    ranges(accept)
        .filter_map(|(range, is_wanted)| Some((precision(range)?, is_wanted)))
        .max()
        .is_some_and(|(_, is_wanted)| is_wanted)
}

/// An `Accept` asks for a media type only by its name: a `*/*` asks for nothing in particular, so that a
/// browser or `curl` is not given a stream.
pub fn asks_for(accept: Option<&str>, media_type: &str) -> bool {
    ranges(accept.unwrap_or_default())
        .any(|(range, is_wanted)| is_wanted && range.eq_ignore_ascii_case(media_type))
}

/// The ranges of an `Accept`, and whether each is wanted (its weight is not zero).
fn ranges(accept: &str) -> impl Iterator<Item = (&str, bool)> {
    accept.split(',').map(|part| {
        let mut pieces = part.split(';').map(str::trim);
        let range = pieces.next().unwrap_or_default();
        let weight = pieces.find_map(|piece| {
            let (name, value) = piece.split_once('=')?;
            let is_weight = name.trim().eq_ignore_ascii_case("q");
            is_weight.then(|| value.trim().parse::<f32>().ok())?
        });
        (range, weight != Some(0.0))
    })
}

/// The headers that have one value.
///
/// `Host`, `Content-Length` and `Authorization` are looked at before any other.
const SINGLE: [&str; 3] = ["Content-Type", "Idempotency-Key", "Last-Event-ID"];

/// Checks that what has one value has no two: which of them counts, every reader would decide for
/// itself. The same one twice is one.
///
/// Errors: 400.
pub fn check_single<'a>(values: impl Fn(&str) -> Vec<&'a str>) -> Result<(), HttpProblem> {
    let differ = |name: &&str| values(name).windows(2).any(|pair| pair[0] != pair[1]);
    match SINGLE.iter().find(|name| differ(name)) {
        Some(name) => Err(HttpProblem::new(
            400,
            format!("there are two different `{name}`"),
        )),
        None => Ok(()),
    }
}

/// Checks that a body comes as it is: nothing here unpacks one.
///
/// Errors: 415, which names what is taken.
///
/// Source: RFC 9110, section 8.4 and 12.5.3.
pub fn check_coding(content_encoding: Option<&str>) -> Result<(), HttpProblem> {
    let mut codings = content_encoding
        .unwrap_or_default()
        .split(',')
        .map(str::trim);
    if codings.all(|coding| coding.is_empty() || coding.eq_ignore_ascii_case("identity")) {
        Ok(())
    } else {
        Err(HttpProblem::new(
            415,
            "the body must come as it is, without a `Content-Encoding`",
        )
        .with_header("Accept-Encoding", "identity"))
    }
}

/// Checks that a body is declared to be JSON in UTF-8.
///
/// Errors: 415.
pub fn check_json(content_type: Option<&str>) -> Result<(), HttpProblem> {
    let mut pieces = content_type.unwrap_or_default().split(';').map(str::trim);
    let is_json = pieces
        .next()
        .is_some_and(|media_type| media_type.eq_ignore_ascii_case(JSON));
    let is_utf8 = pieces
        .filter_map(|piece| piece.split_once('='))
        .filter(|(name, _)| name.trim().eq_ignore_ascii_case("charset"))
        .all(|(_, value)| value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8"));
    if is_json && is_utf8 {
        Ok(())
    } else {
        Err(HttpProblem::new(
            415,
            "the body must be JSON in UTF-8, with `Content-Type: application/json`",
        ))
    }
}

/// Reads the type of a body that is a file; without a header nothing is known of it.
///
/// Errors: 415 for what is no media type, or that of a form.
pub fn file_type(content_type: Option<&str>) -> Result<MediaType, HttpProblem> {
    let Some(value) = content_type else {
        return Ok(MediaType::UNKNOWN);
    };
    let media_type = MediaType::parse(value).filter(|media_type| !media_type.is_form());
    media_type.ok_or_else(|| {
        HttpProblem::new(
            415,
            "the body must be the file itself, not a form, with its own `Content-Type`, \
             as in `curl --data-binary @cat.png -H 'Content-Type: image/png'`",
        )
    })
}

/// A `Prefer` with `respond-async` asks for an answer before the work is done.
///
/// Source: RFC 7240, section 4.1.
pub fn prefers_async(prefer: Option<&str>) -> bool {
    prefer.unwrap_or_default().split(',').any(|part| {
        let name = part.split(';').next().unwrap_or_default();
        name.trim().eq_ignore_ascii_case("respond-async")
    })
}

/// Reads an `Idempotency-Key`.
///
/// Errors: 400 for one that could not be kept.
pub fn idempotency_key(key: Option<&str>) -> Result<Option<SourceId>, HttpProblem> {
    let Some(key) = key else { return Ok(None) };
    SourceId::parse(key).map(Some).map_err(|_| {
        HttpProblem::new(
            400,
            "`Idempotency-Key` must be 1 to 255 visible ASCII characters",
        )
    })
}

/// Where a client left off: `Last-Event-ID`, else `?last_event_id=`.
///
/// Errors: 400 for one that we never gave.
pub fn last_event_id(
    header: Option<&str>,
    parameter: Option<&str>,
) -> Result<Option<Cursor>, HttpProblem> {
    // A browser that has seen no event yet may send an empty header.
    let header = header.filter(|id| !id.is_empty());
    // An id may hold a plus, which a query that was not escaped turns into a space.
    let Some(id) = header
        .map(str::to_owned)
        .or(parameter.map(|id| id.replace(' ', "+")))
    else {
        return Ok(None);
    };
    Cursor::parse(&id).map(Some).ok_or_else(|| {
        HttpProblem::new(
            400,
            "`Last-Event-ID` is not the id of an event; leave it out to begin anew",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_exact_range_of_an_accept_decides() {
        for (accept, json, stream) in [
            (None, true, true),
            (Some(""), true, true),
            (Some("*/*"), true, true),
            (Some("application/json"), true, false),
            (Some("Application/JSON; charset=utf-8"), true, false),
            (Some("application/*"), true, false),
            (Some("text/html, */*;q=0.1"), true, true),
            (Some("text/event-stream"), false, true),
            (Some("text/*;q=0.5, application/json;q=0"), false, true),
            (Some("*/*, application/json;q=0"), false, true),
            (Some("text/html"), false, false),
            (Some("nonsense"), false, false),
        ] {
            assert_eq!(accepts(accept, JSON), json, "{accept:?}");
            assert_eq!(accepts(accept, EVENT_STREAM), stream, "{accept:?}");
        }
    }

    #[test]
    fn only_a_named_media_type_is_asked_for() {
        for (accept, want) in [
            (None, false),
            (Some("*/*"), false),
            (Some("text/*"), false),
            (Some("text/event-stream"), true),
            (Some("application/json, text/event-stream;q=0.9"), true),
            (Some("text/event-stream;q=0"), false),
        ] {
            assert_eq!(asks_for(accept, EVENT_STREAM), want, "{accept:?}");
        }
    }

    #[test]
    fn a_body_must_be_json_in_utf8() {
        for (content_type, want) in [
            (Some("application/json"), true),
            (Some("Application/Json; Charset=\"UTF-8\""), true),
            (Some("application/json;charset=latin-1"), false),
            (Some("application/jsonx"), false),
            (Some("text/plain"), false),
            (Some("application/x-www-form-urlencoded"), false),
            (Some(""), false),
            (None, false),
        ] {
            assert_eq!(check_json(content_type).is_ok(), want, "{content_type:?}");
        }
    }

    #[test]
    fn a_body_must_come_as_it_is() {
        for (coding, want) in [
            (None, true),
            (Some(""), true),
            (Some("identity"), true),
            (Some("Identity, identity"), true),
            (Some("gzip"), false),
            (Some("identity, br"), false),
            (Some("x-nothing"), false),
        ] {
            let checked = check_coding(coding).map_err(|problem| problem.status());
            assert_eq!(checked, if want { Ok(()) } else { Err(415) }, "{coding:?}");
        }
    }

    #[test]
    fn what_has_one_value_has_no_two() {
        for name in SINGLE {
            let check = |values: &'static [&'static str]| {
                check_single(|asked| {
                    if asked == name {
                        values.to_vec()
                    } else {
                        Vec::new()
                    }
                })
            };
            assert!(check(&[]).is_ok() && check(&["a"]).is_ok() && check(&["a", "a"]).is_ok());
            for two in [&["a", "b"][..], &["a", ""], &["a", "a", "A"]] {
                let problem = check(two).unwrap_err();
                assert_eq!(problem.status(), 400, "{name} {two:?}");
                assert!(problem.detail().contains(name), "{}", problem.detail());
            }
        }
    }

    #[test]
    fn respond_async_is_found_among_preferences() {
        for (prefer, want) in [
            (None, false),
            (Some("respond-async"), true),
            (Some("wait=10, Respond-Async; x=1"), true),
            (Some("respond-asynchronously"), false),
        ] {
            assert_eq!(prefers_async(prefer), want, "{prefer:?}");
        }
    }

    #[test]
    fn a_key_is_visible_ascii() {
        assert_eq!(idempotency_key(None), Ok(None));
        assert!(idempotency_key(Some("k-1")).unwrap().is_some());
        for refused in ["", "a b", "ä", &"x".repeat(256)] {
            let problem = idempotency_key(Some(refused)).unwrap_err();
            assert_eq!(problem.status(), 400, "{refused:?}");
        }
    }

    #[test]
    fn a_cursor_comes_by_header_or_by_query_even_unescaped() {
        let cursor = Cursor::parse("7.2+120");
        assert_eq!(last_event_id(None, None), Ok(None));
        assert_eq!(last_event_id(Some("7.2+120"), None), Ok(cursor));
        assert_eq!(last_event_id(None, Some("7.2+120")), Ok(cursor));
        assert_eq!(last_event_id(None, Some("7.2 120")), Ok(cursor));
        assert_eq!(last_event_id(Some(""), Some("7.2+120")), Ok(cursor));
        assert_eq!(last_event_id(Some("7.2+120"), Some("3")), Ok(cursor));
        assert_eq!(last_event_id(Some("x"), None).unwrap_err().status(), 400);
        assert_eq!(last_event_id(None, Some("")).unwrap_err().status(), 400);
    }
}
