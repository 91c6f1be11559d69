//! What a request asks for beside its conversation and its tools. Pure.

use serde_json::{Map, Value};

use crate::llm::dialect::AskedModel;

/// The options of a request by their names in its dialect.
#[derive(Debug, Default)]
pub(super) struct Options(Map<String, Value>);

impl Options {
    /// Sets one, if there is a value.
    pub(super) fn set(&mut self, name: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.0.insert(name.to_owned(), value.into());
        }
    }

    /// All of them: without those that are refused, and with what the agent puts into the request itself.
    pub(super) fn finish(self, asked: &AskedModel<'_>) -> Map<String, Value> {
        let mut options = self.taken(asked);
        merge(&mut options, &asked.choice.settings.extra_body);
        options
    }

    /// All of them, without those that are refused.
    pub(super) fn taken(mut self, asked: &AskedModel<'_>) -> Map<String, Value> {
        for name in asked.left_out() {
            self.0.remove(name);
        }
        self.0
    }
}

/// Puts `extra` into `members`: objects are merged, `null` takes out, anything else takes the place of what
/// is there.
fn merge(members: &mut Map<String, Value>, extra: &Map<String, Value>) {
    for (name, value) in extra {
        match (members.get_mut(name), value) {
            (_, Value::Null) => {
                members.remove(name);
            }
            (Some(Value::Object(known)), Value::Object(more)) => merge(known, more),
            (_, value) => {
                members.insert(name.clone(), value.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_put_in_is_merged_last() {
        let object = |value: Value| value.as_object().unwrap().clone();
        let mut members = object(json!({"a": 1, "b": {"c": 1, "d": {"e": 1}}, "f": 1, "g": [1]}));
        let extra = json!({"b": {"c": 2, "d": {"h": 1}}, "f": null, "g": [2], "i": {"j": 1}});
        merge(&mut members, &object(extra));
        let expected = json!({
            "a": 1, "b": {"c": 2, "d": {"e": 1, "h": 1}}, "g": [2], "i": {"j": 1},
        });
        assert_eq!(Value::Object(members), expected);
    }
}
