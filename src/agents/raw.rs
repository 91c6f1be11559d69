//! What `agent.yaml` may say, key by key.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use crate::base::yaml::read::{
    Anything, At, ListOr, Literal, OneOrMore, WordOr, WordOrList, section,
};

section! {
    /// The whole file.
    plain section AgentFile {
        "apiVersion" => api_version: String,
        "kind" => kind: String,
        "metadata" => metadata: Metadata,
        "spec" => spec: Spec,
    }
}

section! {
    /// `metadata`.
    plain section Metadata {
        "name" => name: String,
        "description" => description: String,
        "version" => version: String,
        "labels" => labels: BTreeMap<String, At<String>>,
    }
}

section! {
    /// `spec`.
    plain section Spec {
        "model" => model: Model,
        "soul" => soul: String,
        "system_prompt" => system_prompt: String,
        "instructions" => instructions: String,
        "session" => session: Box<Session>,
        "memory" => memory: Memory,
        "limits" => limits: Limits,
        "tools" => tools: Vec<At<Tool>>,
        "tools_cwd" => tools_cwd: String,
        "timezone" => timezone: String,
        "hooks" => hooks: Hooks,
        "skills_dir" => skills_dir: String,
        "access" => access: Access,
    }
}

section! {
    /// `spec.model`.
    plain section Model with main: OneModel {
        "fallbacks" => fallbacks: Vec<At<OneModel>>,
    }
}

section! {
    /// What is said of a model: `spec.model` itself, or one of its `fallbacks`.
    plain section OneModel {
        "provider" => provider: String,
        "name" => name: String,
        "base_url" => base_url: String,
        "temperature" => temperature: f64,
        "top_p" => top_p: f64,
        "seed" => seed: u64,
        "stop" => stop: WordOrList,
        "max_output_tokens" => max_output_tokens: u64,
        "max_tokens" => max_tokens: u64,
        "max_input_tokens" => max_input_tokens: u64,
        "reasoning" => reasoning: Reasoning,
        "stream" => stream: bool,
        "extra_body" => extra_body: BTreeMap<String, At<Json>>,
        "headers" => headers: BTreeMap<String, At<String>>,
        "input" => input: Vec<At<String>>,
        "tool_text" => tool_text: bool,
        "prompt" => prompt: String,
    }
}

section! {
    /// `spec.model.reasoning`.
    plain section Reasoning {
        "effort" => effort: String,
        "max_tokens" => max_tokens: u64,
    }
}

section! {
    /// `spec.session`.
    plain section Session {
        "on_disconnect" => on_disconnect: String,
        "max_tool_iterations" => max_tool_iterations: u64,
        "loop_guard" => loop_guard: String,
        "llm_timeout_seconds" => llm_timeout_seconds: u64,
        "ttl_hours" => ttl_hours: u64,
        "approval_timeout" => approval_timeout: String,
        "compaction" => compaction: Anything,
        "context" => context: Context,
        "summary" => summary: String,
        "summary_model" => summary_model: SummaryModel,
    }
}

section! {
    /// `spec.session.summary_model`.
    plain section SummaryModel {
        "provider" => provider: String,
        "name" => name: String,
    }
}

section! {
    /// `spec.session.context`.
    plain section Context {
        "max_history_tokens" => max_history_tokens: u64,
        "max_tool_result_tokens" => max_tool_result_tokens: u64,
        "tool_result_truncation" => tool_result_truncation: String,
        "tool_result_keep_first" => tool_result_keep_first: u64,
        "tool_result_keep_last" => tool_result_keep_last: u64,
    }
}

section! {
    /// `spec.memory`.
    plain section Memory {
        "backend" => backend: String,
        "scope" => scope: String,
    }
}

section! {
    /// `spec.limits`.
    plain section Limits {
        "tokens_per_day" => tokens_per_day: u64,
        "turns_per_hour" => turns_per_hour: u64,
        "cost_per_day" => cost_per_day: f64,
        "reply_bytes" => reply_bytes: u64,
    }
}

section! {
    /// One of `spec.tools`.
    plain section Tool {
        "type" => kind: String,
        "name" => name: String,
        "command" => command: String,
        "description" => description: String,
        "readme" => readme: String,
        "effect" => effect: String,
        "args" => args: ListOr<String, String>,
        "env" => env: ListOr<String, BTreeMap<String, At<String>>>,
        "url" => url: String,
    }
}

section! {
    /// `spec.hooks`.
    guarded section Hooks {
        "before_tool" => before_tool: OneOrMore<BeforeTool>,
        "after_tool" => after_tool: OneOrMore<AfterTool>,
    }
}

section! {
    /// One of `spec.hooks.before_tool`: its rule beside `type`, or below its name.
    guarded section BeforeTool {
        "match" => calls: OneOrMore<String>,
        "type" => kind: WordOr<Rules>,
        "prior" => prior: OneOrMore<String>,
        "match_arg" => match_arg: OneOrMore<String>,
        "match_args" => match_args: OneOrMore<String>,
        "depends_on" => depends_on: DependsOn,
        "skip_duplicate" => skip_duplicate: SkipDuplicate,
    }
}

section! {
    /// `spec.hooks.before_tool[].type`, where it is no word.
    guarded section Rules {
        "depends_on" => depends_on: DependsOn,
        "skip_duplicate" => skip_duplicate: SkipDuplicate,
    }
}

section! {
    /// `spec.hooks.before_tool[].depends_on`.
    guarded section DependsOn {
        "prior" => prior: OneOrMore<String>,
        "match_arg" => match_arg: OneOrMore<String>,
        "match_args" => match_args: OneOrMore<String>,
    }
}

section! {
    /// `spec.hooks.before_tool[].skip_duplicate`.
    guarded section SkipDuplicate {
        "match_arg" => match_arg: OneOrMore<String>,
        "match_args" => match_args: OneOrMore<String>,
    }
}

section! {
    /// One of `spec.hooks.after_tool`.
    guarded section AfterTool {
        "match" => calls: OneOrMore<String>,
        "message" => message: String,
        "unless" => unless: BTreeMap<String, At<OneOrMore<Literal>>>,
    }
}

section! {
    /// `spec.access`.
    guarded section Access {
        "dm" => dm: Dm,
        "groups" => groups: Groups,
        "approvers" => approvers: Vec<At<String>>,
        "requester_approves" => requester_approves: bool,
    }
}

section! {
    /// `spec.access.dm`.
    guarded section Dm {
        "policy" => policy: String,
        "allowlist" => allowlist: Vec<At<String>>,
    }
}

section! {
    /// `spec.access.groups`.
    guarded section Groups {
        "policy" => policy: String,
        "allowlist" => allowlist: Vec<At<String>>,
        "activation" => activation: String,
        "bots" => bots: String,
        "sender_default" => sender_default: String,
        "sender_overrides" => sender_overrides: BTreeMap<String, At<String>>,
        "context_buffer" => context_buffer: Buffer,
        "queue" => queue: Queue,
    }
}

section! {
    /// `spec.access.groups.context_buffer`.
    guarded section Buffer {
        "mode" => mode: String,
        "max_messages" => max_messages: u64,
        "max_age_hours" => max_age_hours: u64,
    }
}

section! {
    /// `spec.access.groups.queue`.
    guarded section Queue {
        "mode" => mode: String,
        "max_pending" => max_pending: u64,
        "overflow" => overflow: String,
        "reject_message" => reject_message: String,
        "debounce" => debounce: Debounce,
    }
}

section! {
    /// `spec.access.groups.queue.debounce`.
    guarded section Debounce {
        "enabled" => enabled: bool,
        "window_ms" => window_ms: u64,
    }
}
