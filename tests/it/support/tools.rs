//! Tools of agents that echo, called by a message to the real binary.

#![allow(dead_code, reason = "a kit for every topic: each uses a part of it")]

use serde_json::{Value, json};

use super::server::{Answer, Remote};

impl Remote {
    /// Has the agent of a session call a tool, with every question answered by yes; returns what
    /// the tool answered.
    pub fn call(&self, session: &str, tool: &str, arguments: &Value) -> String {
        let answer = self.try_call(session, tool, arguments);
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["content"].as_str().unwrap().to_owned()
    }

    /// The same with whatever comes of it.
    pub fn try_call(&self, session: &str, tool: &str, arguments: &Value) -> Answer {
        let mut answer = self.say(session, &format!("/tool {tool} {arguments}"));
        while is_question(&answer) {
            let mut decision = answer.json();
            decision["decision"] = json!("allow_once");
            let asked = ["call_id", "command", "decision"].map(|key| (key, decision[key].clone()));
            let body: Value = asked
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value))
                .collect();
            answer = self.post(&format!("/api/v1/sessions/{session}/approve"), &body);
        }
        answer
    }
}

fn is_question(answer: &Answer) -> bool {
    matches!(answer.status, 200 | 202) && answer.json()["call_id"].is_string()
}
