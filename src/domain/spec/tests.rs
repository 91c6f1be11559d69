use super::*;
use crate::domain::access::IdPattern;

#[test]
fn the_public_form_holds_no_secret() {
    let model = ModelChoice {
        provider: Provider::ECHO,
        name: "echo".to_owned(),
        base_url: Some("http://SECRET@localhost".to_owned()),
        settings: Default::default(),
    };
    let mut spec = AgentSpec::new(AgentName::parse("ada").unwrap(), model);
    spec.prompts.system_prompt = Some("Be kind.".to_owned());
    spec.tools = vec![
        ToolRef::Mcp {
            name: "files".to_owned(),
            server: Some(McpServer::Command {
                command: "SECRET".to_owned(),
                args: vec![Secret::new("SECRET")],
                env: BTreeMap::from([("TOKEN".to_owned(), Secret::new("SECRET"))]),
            }),
        },
        ToolRef::Cli {
            name: "date".to_owned(),
            command: "SECRET".to_owned(),
            args: vec!["SECRET".to_owned()],
            description: None,
            readme: None,
            effect: ToolEffect::Read,
            env: Vec::new(),
        },
    ];
    spec.access.dm.allowlist = vec![IdPattern::Exact("SECRET".to_owned())];
    let public = spec.public_json();
    assert!(!public.to_string().contains("SECRET"), "{public}");
    assert_eq!(
        public,
        json!({
            "api_version": "duragent/v1alpha1",
            "kind": "Agent",
            "metadata": {"name": "ada", "labels": {}},
            "spec": {
                "model": {"provider": "echo", "name": "echo", "fallbacks": []},
                "system_prompt": "Be kind.",
                "directives": [],
                "session": {
                    "on_disconnect": "pause",
                    "max_tool_iterations": 10,
                    "loop_guard": "on",
                    "llm_timeout_seconds": 300,
                    "context": {"max_history_tokens": 20000},
                },
                "limits": {},
                "tools": [
                    {"type": "mcp", "name": "files"},
                    {"type": "cli", "name": "date"},
                ],
                "skills": [],
                "access": {"dm": {"policy": "pairing"}, "groups": {"policy": "disabled"}},
            },
        })
    );
}

#[test]
fn the_public_form_shows_hooks_and_where_tools_start_where_that_is_said() {
    use crate::domain::glob::Glob;
    use crate::domain::hooks::{Guard, Note, Rule, Selector};
    let model = ModelChoice {
        provider: Provider::ECHO,
        name: "echo".to_owned(),
        base_url: None,
        settings: Default::default(),
    };
    let mut spec = AgentSpec::new(AgentName::parse("ada").unwrap(), model);
    assert_eq!(spec.public_json()["spec"].get("hooks"), None);
    let selector = |glob: &str| Selector(vec![Glob::parse(glob).unwrap()]);
    spec.tools_cwd = ToolsCwd::Agent;
    spec.hooks.guards = vec![
        Guard {
            calls: selector("edit"),
            rule: Rule::DependsOn {
                prior: selector("read"),
                args: vec!["path".to_owned()],
            },
        },
        Guard {
            calls: selector("memory:*"),
            rule: Rule::SkipDuplicate { args: Vec::new() },
        },
    ];
    spec.hooks.notes = vec![Note {
        calls: selector("bash"),
        message: "Mind the gap.".to_owned(),
        unless: vec![("quiet".to_owned(), vec!["true".to_owned()])],
    }];
    let public = spec.public_json();
    assert_eq!(public["spec"]["tools_cwd"], "agent");
    assert_eq!(
        public["spec"]["hooks"],
        json!({
            "before_tool": [
                {"match": ["edit"], "type": "depends_on", "prior": ["read"], "match_args": ["path"]},
                {"match": ["memory:*"], "type": "skip_duplicate", "match_args": []},
            ],
            "after_tool": [
                {"match": ["bash"], "message": "Mind the gap.", "unless": {"quiet": ["true"]}},
            ],
        })
    );
}
