use proptest::prelude::*;
use serde_json::json;

use super::*;

fn tools() -> Vec<ToolDefinition> {
    let tool = |name: &str, parameters| ToolDefinition {
        name: name.to_owned(),
        description: String::new(),
        parameters,
    };
    vec![
        tool(
            "date",
            json!({"type": "object", "properties": {"zone": {"type": "string"}, "days": {"type": ["integer", "null"]},
                "how": {"enum": ["long", "short"]}}, "required": ["zone"], "additionalProperties": false}),
        ),
        tool("now", json!({"type": "object", "properties": {}})),
    ]
}

fn read(text: &str) -> Option<Vec<(String, Value)>> {
    let calls = calls(text, &tools())?.into_iter();
    let calls = calls.map(|call| (call.name, serde_json::from_str(&call.arguments).unwrap()));
    Some(calls.collect())
}

#[test]
fn every_way_to_print_a_call_is_read() {
    let date = ("date".to_owned(), json!({"zone": "utc"}));
    for text in [
        r#"{"name": "date", "arguments": {"zone": "utc"}}"#,
        r#"{"name": "date", "parameters": {"zone": "utc"}}"#,
        r#"{"name": "date", "arguments": "{\"zone\": \"utc\"}"}"#,
        r#"{"id": "c1", "type": "function", "function": {"name": "date", "arguments": {"zone": "utc"}}}"#,
        r#"{"type": "function", "function": "date", "parameters": {"zone": "utc"}}"#,
        r#"[{"name": "date", "arguments": {"zone": "utc"}}]"#,
        "<tool_call>\n{\"name\": \"date\", \"arguments\": {\"zone\": \"utc\"}}\n</tool_call>\n",
        "<tool_call>{\"name\": \"date\", \"arguments\": {\"zone\": \"utc\"}}",
        "```json\n{\"name\": \"date\", \"arguments\": {\"zone\": \"utc\"}}\n```",
        "```\n<tool_call>{\"name\": \"date\", \"arguments\": {\"zone\": \"utc\"}}</tool_call>\n```",
        "<think>it is {\"name\":1}</think>\n\n{\"name\": \"date\", \"arguments\": {\"zone\": \"utc\"}}",
        r#"[TOOL_CALLS] [{"name": "date", "arguments": {"zone": "utc"}}]"#,
        r#"[TOOL_CALLS]date{"zone": "utc"}"#,
        r#"[TOOL_CALLS]date[ARGS]{"zone": "utc"}"#,
        "<function=date>{\"zone\": \"utc\"}</function>",
        "<function=date>\n<parameter=zone>\nutc\n</parameter>\n</function>",
        "<tool_call>\n<function=date>\n<parameter=zone>utc</parameter>\n</function>\n</tool_call>",
        r#"<|python_tag|>{"name": "date", "parameters": {"zone": "utc"}}"#,
    ] {
        assert_eq!(read(text), Some(vec![date.clone()]), "{text}");
    }
    let two = "<tool_call>{\"name\": \"now\", \"arguments\": {}}</tool_call>\n\
        <tool_call>{\"name\": \"date\", \"arguments\": {\"zone\": \"utc\"}}</tool_call>";
    assert_eq!(read(two), Some(vec![("now".to_owned(), json!({})), date]));
    let typed =
        "<function=date><parameter=zone>7</parameter><parameter=days>7</parameter></function>";
    let expected = json!({"zone": "7", "days": 7});
    assert_eq!(read(typed), Some(vec![("date".to_owned(), expected)]));
}

#[test]
fn what_is_no_call_of_what_was_offered_is_text() {
    for text in [
        "",
        "{}",
        "[]",
        "hello",
        // Words around it.
        r#"Sure: {"name": "date", "arguments": {"zone": "utc"}}"#,
        "<tool_call>{\"name\": \"date\", \"arguments\": {\"zone\": \"utc\"}}</tool_call> That is how.",
        "```json\n{\"name\": \"now\", \"arguments\": {}}\n```\nand\n```json\n{}\n```",
        "```python\n{\"name\": \"now\", \"arguments\": {}}\n```",
        // Not offered.
        r#"{"name": "dates", "arguments": {"zone": "utc"}}"#,
        r#"{"name": 7, "arguments": {}}"#,
        // Arguments that do not fit.
        r#"{"name": "date", "arguments": {}}"#,
        r#"{"name": "date", "arguments": {"zone": 1}}"#,
        r#"{"name": "date", "arguments": {"zone": "utc", "more": 1}}"#,
        r#"{"name": "date", "arguments": {"zone": "utc", "days": 1.5}}"#,
        r#"{"name": "date", "arguments": {"zone": "utc", "how": "wide"}}"#,
        r#"{"name": "date", "arguments": ["utc"]}"#,
        r#"{"name": "now"}"#,
        // Something else that has a name.
        r#"{"name": "now", "arguments": {}, "age": 7}"#,
        r#"{"name": "now", "arguments": {}, "parameters": {}}"#,
        r#"[{"name": "now", "arguments": {}}, {"name": "Ann"}]"#,
        "<tool_call>not json</tool_call>",
        "<function=now>half",
        "<function=date><parameter=zone>utc",
        "[TOOL_CALLS]",
        "[TOOL_CALLS]now",
        "<think>{\"name\": \"now\", \"arguments\": {}}",
    ] {
        assert_eq!(read(text), None, "{text}");
    }
}

#[test]
fn a_text_is_held_while_it_may_become_a_call() {
    for text in [
        "",
        " \n",
        "<",
        "<tool",
        "<tool_call>{\"x",
        "[TOOL",
        "[",
        "[ {",
        "{",
        "{\n \"na",
        "{\"name\": \"x",
        "`",
        "```",
        "```js",
        "```json\n",
        "```json\n{\"name\"",
        "<function=x>",
        "<|py",
        "{\"type\": \"function\"",
    ] {
        assert!(may_become_call(text), "{text:?}");
    }
    for text in [
        "H",
        "<b",
        "[1",
        "[link](x)",
        "{x",
        "{\"b",
        "{\"named\"",
        "```rust\n",
        "```rust",
        "``x",
        "<think>",
        "1",
    ] {
        assert!(!may_become_call(text), "{text:?}");
    }
}

proptest! {
    /// Whatever a model prints, it is read without a panic, and what is a call was held from the first byte on.
    #[test]
    fn what_is_a_call_could_always_have_become_one(
        before in "[ \n]{0,3}",
        form in 0_usize..8,
        zone in "[a-z\"\\\\<{\\[` ]{0,12}",
    ) {
        let arguments = json!({"zone": zone});
        let call = json!({"name": "date", "arguments": arguments});
        let text = match form {
            0 => call.to_string(),
            1 => format!("<tool_call>\n{call}\n</tool_call>"),
            2 => format!("[TOOL_CALLS] [{call}]"),
            3 => format!("<function=date>{arguments}</function>"),
            4 => format!("```json\n{call}\n```"),
            5 => format!("[TOOL_CALLS]date{arguments}"),
            6 => format!("<|python_tag|>{call}"),
            _ => format!("[{call}]"),
        };
        let text = format!("{before}{text}");
        if let Some(calls) = read(&text) {
            prop_assert_eq!(&calls[0].1, &arguments);
            for (end, _) in text.char_indices() {
                prop_assert!(may_become_call(&text[..end]), "{}", &text[..end]);
            }
        } else {
            // Texts in which the form's own ends stand.
            prop_assert!(zone.contains('<') || zone.contains('`'), "{text}");
        }
    }

    #[test]
    fn no_text_is_a_panic(text in "(<tool_call>|</tool_call>|\\[TOOL_CALLS\\]|<function=|<parameter=|```|json|\n|[{}\\[\\]\":,a-z0-9 ]){0,30}") {
        let _read = read(&text);
        let _held = may_become_call(&text);
    }
}
