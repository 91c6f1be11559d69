//! Calls that a model prints as text, where its server does not make calls of them. Pure.
//!
//! Local models are taught many ways to write a call; where their server does not know the way, the call
//! is the reply's text. It is taken for one only if it is the *whole* text, after thinking and within one
//! fence, names a tool that was offered, and has arguments that the tool's schema allows. Words around it
//! are words: a model that explains a call does not make it.
//!
//! Source: the chat templates of Qwen, Hermes, Mistral and Llama.

use serde_json::{Map, Value};

use crate::domain::message::Message;
use crate::llm::{RawToolCall, Request, ToolDefinition};

/// Deeper is no schema that anybody checks by hand.
const DEPTH_MAX: usize = 16;
/// The signs with which a printed call begins, after blanks, thinking and a fence.
const SIGNS: [&str; 4] = [TOOL_CALL, TOOL_CALLS, FUNCTION, PYTHON];
const TOOL_CALL: &str = "<tool_call>";
const TOOL_CALL_END: &str = "</tool_call>";
const TOOL_CALLS: &str = "[TOOL_CALLS]";
const ARGUMENTS: &str = "[ARGS]";
const FUNCTION: &str = "<function=";
const FUNCTION_END: &str = "</function>";
const PARAMETER: &str = "<parameter=";
const PARAMETER_END: &str = "</parameter>";
const PYTHON: &str = "<|python_tag|>";
/// The signs of thinking that is printed.
pub(super) const THINK: &str = "<think>";
pub(super) const THINK_END: &str = "</think>";
const FENCE: &str = "```";
/// The words behind a fence within which a call may stand.
const FENCE_WORDS: [&str; 6] = ["", "json", "tool_call", "tool_calls", "tool_code", "xml"];
/// Members of an object that is a call, beside its name and its arguments.
const BESIDE: [&str; 4] = ["id", "type", "index", "tool_call_id"];

/// The calls that `text` is, if it is calls of `tools` and nothing else.
pub(super) fn calls(text: &str, tools: &[ToolDefinition]) -> Option<Vec<RawToolCall>> {
    let printed = printed(bare(text))?;
    let calls = printed.into_iter().map(|call| call.checked(tools));
    calls
        .collect::<Option<Vec<_>>>()
        .filter(|calls| !calls.is_empty())
}

/// The same, unless somebody said that very text in this turn, or the instructions hold it: then it is quoted.
pub(super) fn calls_unless_quoted(text: &str, request: &Request) -> Option<Vec<RawToolCall>> {
    let calls = calls(text, &request.tools)?;
    let text = bare(text);
    let is_answer = |message: &Message| matches!(message, Message::Assistant(reply) if reply.tool_calls.is_empty());
    let messages = request.messages.iter().rev();
    let mut of_turn = messages.take_while(|message| !is_answer(message));
    let is_quoted = of_turn.any(|message| match message {
        Message::User {
            text: said,
            attachments,
        } => {
            let files = request.files.as_deref();
            let shown = |file| files.and_then(|files| files.text(file));
            let mut shown = attachments.iter().filter_map(shown);
            said.contains(text) || shown.any(|shown| shown.contains(text))
        }
        Message::Tool { output, .. } => output.content.contains(text),
        Message::Assistant(_) => false,
    });
    (!is_quoted && !request.system.contains(text)).then_some(calls)
}

/// The text without thinking, fence and blanks around it: what of it may be a call.
fn bare(text: &str) -> &str {
    let text = text.trim();
    let text = match text.strip_prefix(THINK) {
        Some(thinking) => match thinking.split_once(THINK_END) {
            Some((_, rest)) => rest.trim(),
            None => text,
        },
        None => text,
    };
    within_fence(text).unwrap_or(text)
}

/// What stands in a text that is one fenced block.
fn within_fence(text: &str) -> Option<&str> {
    let inside = text.strip_prefix(FENCE)?.strip_suffix(FENCE)?;
    let (word, inside) = inside.split_once('\n')?;
    let is_whole = !inside.contains(FENCE);
    (is_whole && FENCE_WORDS.contains(&word.trim())).then(|| inside.trim())
}

/// A text that may become a printed call, whatever comes next; of an empty one nobody knows. `false` for good:
/// more text does not make a call of it.
pub(super) fn may_become_call(text: &str) -> bool {
    let text = text.trim_start();
    let text = match fence_begun(text) {
        Some(FenceStart::Open) => return true,
        Some(FenceStart::Inside(inside)) => inside.trim_start(),
        Some(FenceStart::Other) => return false,
        None => text,
    };
    let is_sign = |sign: &str| sign.starts_with(text) || text.starts_with(sign);
    text.is_empty() || SIGNS.into_iter().any(is_sign) || may_become_json(text)
}

enum FenceStart<'a> {
    /// The line of the fence is not whole.
    Open,
    /// What stands behind that line.
    Inside(&'a str),
    /// The block is of another language.
    Other,
}

fn fence_begun(text: &str) -> Option<FenceStart<'_>> {
    let Some(behind) = text.strip_prefix(FENCE) else {
        let is_half = !text.is_empty() && FENCE.starts_with(text);
        return is_half.then_some(FenceStart::Open);
    };
    Some(match behind.split_once('\n') {
        Some((word, inside)) if FENCE_WORDS.contains(&word.trim()) => FenceStart::Inside(inside),
        Some(_) => FenceStart::Other,
        None if FENCE_WORDS
            .iter()
            .any(|word| word.starts_with(behind.trim())) =>
        {
            FenceStart::Open
        }
        None => FenceStart::Other,
    })
}

/// An object whose first member is one of a call's, or a list of such.
fn may_become_json(text: &str) -> bool {
    let text = match text.strip_prefix('[') {
        Some(inside) => inside.trim_start(),
        None => text,
    };
    if text.is_empty() {
        return true;
    }
    let Some(inside) = text.strip_prefix('{') else {
        return false;
    };
    let inside = inside.trim_start();
    if inside.is_empty() {
        return true;
    }
    let Some(key) = inside.strip_prefix('"') else {
        return false;
    };
    let known = ["name", "function", "arguments", "parameters"];
    let mut known = known.iter().chain(&BESIDE);
    match key.split_once('"') {
        Some((key, _)) => known.any(|one| *one == key),
        None => known.any(|one| one.starts_with(key)),
    }
}

/// A call as it was printed.
#[derive(Debug, PartialEq)]
struct PrintedCall {
    name: String,
    arguments: PrintedArguments,
}

#[derive(Debug, PartialEq)]
enum PrintedArguments {
    Object(Map<String, Value>),
    /// Texts, whose types the schema knows.
    Texts(Vec<(String, String)>),
}

fn printed(text: &str) -> Option<Vec<PrintedCall>> {
    if let Some(rest) = text.strip_prefix(PYTHON) {
        return of_json(rest.trim());
    }
    if text.starts_with(TOOL_CALL) {
        return of_tool_calls(text);
    }
    if let Some(rest) = text.strip_prefix(TOOL_CALLS) {
        return of_mistral(rest.trim_start());
    }
    if text.starts_with(FUNCTION) {
        return of_functions(text);
    }
    of_json(text)
}

/// `<tool_call>…</tool_call>`, one or more; the last end may be missing.
fn of_tool_calls(text: &str) -> Option<Vec<PrintedCall>> {
    let mut calls = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let inside = rest.strip_prefix(TOOL_CALL)?;
        let (inside, behind) = inside.split_once(TOOL_CALL_END).unwrap_or((inside, ""));
        let inside = inside.trim();
        calls.extend(if inside.starts_with(FUNCTION) {
            of_functions(inside)?
        } else {
            of_json(inside)?
        });
        rest = behind.trim_start();
    }
    Some(calls)
}

/// `[{…}]`, or `name{…}` and `name[ARGS]{…}`, one behind the other.
fn of_mistral(text: &str) -> Option<Vec<PrintedCall>> {
    if text.starts_with('[') {
        return of_json(text);
    }
    let mut calls = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        rest = rest.strip_prefix(TOOL_CALLS).unwrap_or(rest).trim_start();
        let name_end = rest.find(['{', '['])?;
        let (name, behind) = rest.split_at(name_end);
        let behind = behind.strip_prefix(ARGUMENTS).unwrap_or(behind);
        let (arguments, behind) = first_object(behind)?;
        calls.push(PrintedCall {
            name: name.trim().to_owned(),
            arguments: PrintedArguments::Object(arguments),
        });
        rest = behind.trim_start();
    }
    Some(calls)
}

/// The object at the beginning of a text, and what stands behind it.
fn first_object(text: &str) -> Option<(Map<String, Value>, &str)> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<Map<String, Value>>();
    let object = values.next()?.ok()?;
    let end = values.byte_offset();
    Some((object, &text[end..]))
}

/// `<function=NAME>…</function>`, one or more, with JSON or with `<parameter=…>` in them.
fn of_functions(text: &str) -> Option<Vec<PrintedCall>> {
    let mut calls = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (name, behind) = rest.strip_prefix(FUNCTION)?.split_once('>')?;
        let (inside, behind) = behind.split_once(FUNCTION_END).unwrap_or((behind, ""));
        calls.push(PrintedCall {
            name: name.trim().to_owned(),
            arguments: function_arguments(inside.trim())?,
        });
        rest = behind.trim_start();
    }
    Some(calls)
}

fn function_arguments(inside: &str) -> Option<PrintedArguments> {
    if !inside.starts_with(PARAMETER) {
        let (object, behind) = match inside {
            "" => (Map::new(), ""),
            inside => first_object(inside)?,
        };
        return behind
            .trim()
            .is_empty()
            .then_some(PrintedArguments::Object(object));
    }
    let mut texts = Vec::new();
    let mut rest = inside;
    while !rest.is_empty() {
        let (name, behind) = rest.strip_prefix(PARAMETER)?.split_once('>')?;
        let (value, behind) = behind.split_once(PARAMETER_END)?;
        // One line's end on each side belongs to the form.
        let value = value.strip_prefix('\n').unwrap_or(value);
        let value = value.strip_suffix('\n').unwrap_or(value);
        texts.push((name.trim().to_owned(), value.to_owned()));
        rest = behind.trim_start();
    }
    Some(PrintedArguments::Texts(texts))
}

/// An object that is a call, or a list of such.
fn of_json(text: &str) -> Option<Vec<PrintedCall>> {
    match serde_json::from_str(text).ok()? {
        Value::Array(calls) => calls.into_iter().map(of_object).collect(),
        call => Some(vec![of_object(call)?]),
    }
}

fn of_object(call: Value) -> Option<PrintedCall> {
    let Value::Object(mut call) = call else {
        return None;
    };
    let (name, mut inner) = match call.remove("function") {
        Some(Value::Object(mut function)) => (function.remove("name"), function),
        Some(name) => (Some(name), Map::new()),
        None => (call.remove("name"), Map::new()),
    };
    let mut arguments = None;
    for key in ["arguments", "parameters"] {
        for members in [&mut inner, &mut call] {
            if let Some(found) = members.remove(key) {
                arguments = arguments.is_none().then_some(found);
                arguments.as_ref()?;
            }
        }
    }
    let is_call = inner.is_empty() && call.keys().all(|key| BESIDE.contains(&key.as_str()));
    let arguments = match arguments.filter(|_| is_call)? {
        Value::Object(arguments) => arguments,
        Value::String(text) => serde_json::from_str(&text).ok()?,
        _ => return None,
    };
    let Some(Value::String(name)) = name else {
        return None;
    };
    Some(PrintedCall {
        name,
        arguments: PrintedArguments::Object(arguments),
    })
}

impl PrintedCall {
    /// A call of one of `tools`, whose schema allows it.
    fn checked(self, tools: &[ToolDefinition]) -> Option<RawToolCall> {
        let tool = tools.iter().find(|tool| tool.name == self.name)?;
        let arguments = match self.arguments {
            PrintedArguments::Object(arguments) => arguments,
            PrintedArguments::Texts(texts) => texts
                .into_iter()
                .map(|(name, text)| {
                    let value = typed(text, &tool.parameters["properties"][&name]);
                    (name, value)
                })
                .collect(),
        };
        let arguments = Value::Object(arguments);
        fits(&arguments, &tool.parameters, DEPTH_MAX).then(|| RawToolCall {
            id: String::new(),
            name: self.name,
            arguments: arguments.to_string(),
        })
    }
}

/// The value that a text stands for, where `schema` wants something else than a text.
fn typed(text: String, schema: &Value) -> Value {
    let is_text = |kind: &Value| kind == "string";
    let takes_text = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().any(is_text),
        kind => is_text(kind),
    };
    if takes_text {
        return Value::String(text);
    }
    serde_json::from_str(text.trim()).unwrap_or(Value::String(text))
}

/// Whether a schema allows `value`, as far as the words that tools use go: the others allow everything.
fn fits(value: &Value, schema: &Value, depth: usize) -> bool {
    let Some(schema) = schema.as_object().filter(|_| depth > 0) else {
        return schema != &Value::Bool(false);
    };
    let inner = |value: &Value, schema: &Value| fits(value, schema, depth - 1);
    let is_kind = match schema.get("type") {
        Some(Value::String(kind)) => is_of_kind(value, kind),
        Some(Value::Array(kinds)) => kinds
            .iter()
            .any(|kind| kind.as_str().is_some_and(|kind| is_of_kind(value, kind))),
        Some(_) | None => true,
    };
    let list = |key: &str| schema.get(key).and_then(Value::as_array);
    let is_listed = list("enum").is_none_or(|values| values.contains(value));
    let is_constant = schema.get("const").is_none_or(|constant| constant == value);
    let is_any = ["anyOf", "oneOf"].into_iter().all(|key| {
        list(key).is_none_or(|schemas| schemas.iter().any(|schema| inner(value, schema)))
    });
    let is_inside = match value {
        Value::Object(members) => {
            let properties = schema.get("properties").and_then(Value::as_object);
            let has_required = list("required").is_none_or(|names| {
                let mut names = names.iter().filter_map(Value::as_str);
                names.all(|name| members.contains_key(name))
            });
            let is_member = |(name, value): (&String, &Value)| match properties
                .and_then(|known| known.get(name))
            {
                Some(schema) => inner(value, schema),
                None => schema
                    .get("additionalProperties")
                    .is_none_or(|schema| inner(value, schema)),
            };
            has_required && members.iter().all(is_member)
        }
        Value::Array(values) => schema
            .get("items")
            .is_none_or(|schema| values.iter().all(|value| inner(value, schema))),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    };
    is_kind && is_listed && is_constant && is_any && is_inside
}

fn is_of_kind(value: &Value, kind: &str) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "number" => value.is_number(),
        // JSON has one kind of numbers.
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        _ => true,
    }
}

#[cfg(test)]
mod tests;
