//! What `duragent.yaml` may say, key by key.

use std::collections::BTreeMap;

use crate::base::yaml::read::{Anything, At, OneOrMore, WordOrList, section};

section! {
    /// The whole file.
    plain section ConfigFile {
        "workspace" => workspace: String,
        "agents_dir" => agents_dir: String,
        "services" => services: Services,
        "world_memory" => world_memory: WorldMemory,
        "server" => server: Server,
        "sessions" => sessions: Sessions,
        "limits" => limits: Limits,
        "prices" => prices: BTreeMap<String, At<Price>>,
        "gateways" => gateways: Gateways,
        "routes" => routes: Vec<At<Route>>,
        "providers" => providers: BTreeMap<String, At<Provider>>,
        "sandbox" => sandbox: Sandbox,
        "logging" => logging: Logging,
        "web" => web: Web,
        "compaction" => compaction: Anything,
    }
}

section! {
    /// `services`.
    plain section Services {
        "session" => session: SessionService,
    }
}

section! {
    /// `services.session`.
    plain section SessionService {
        "path" => path: String,
    }
}

section! {
    /// `world_memory`.
    plain section WorldMemory {
        "path" => path: String,
    }
}

section! {
    /// `server`.
    guarded section Server {
        "host" => host: String,
        "port" => port: u64,
        "api_token" => api_token: String,
        "admin_token" => admin_token: String,
        "local_users" => local_users: WordOrList,
        "allowed_hosts" => allowed_hosts: Vec<At<String>>,
        "allowed_origins" => allowed_origins: Vec<At<String>>,
        "workdirs" => workdirs: Vec<At<String>>,
        "min_free_mb" => min_free_mb: u64,
        "request_timeout_seconds" => request_timeout_seconds: u64,
        "idle_timeout_seconds" => idle_timeout_seconds: u64,
        "keep_alive_interval_seconds" => keep_alive_interval_seconds: u64,
        "max_connections" => max_connections: u64,
        "max_body_bytes" => max_body_bytes: u64,
        "shutdown_grace_seconds" => shutdown_grace_seconds: u64,
    }
}

section! {
    /// `sessions`.
    plain section Sessions {
        "ttl_hours" => ttl_hours: u64,
        "max_active" => max_active: u64,
        "delete_after_hours" => delete_after_hours: u64,
        "compaction" => compaction: Anything,
    }
}

section! {
    /// `limits`.
    plain section Limits {
        "reply_bytes" => reply_bytes: u64,
    }
}

section! {
    /// `gateways`.
    plain section Gateways {
        "telegram" => telegram: OneOrMore<Telegram>,
        "external" => external: Vec<At<External>>,
        "discord" => discord: Anything,
        "transcribe" => transcribe: WordOrList,
    }
}

section! {
    /// `gateways.telegram`, or one of them.
    plain section Telegram {
        "name" => name: String,
        "enabled" => enabled: bool,
        "agent" => agent: String,
        "bot_token" => bot_token: String,
        "api_url" => api_url: String,
    }
}

section! {
    /// One of `gateways.external`.
    plain section External {
        "name" => name: String,
        "enabled" => enabled: bool,
        "command" => command: String,
        "args" => args: Vec<At<String>>,
        "env" => env: BTreeMap<String, At<String>>,
        "restart" => restart: String,
    }
}

section! {
    /// One of `routes`. A mistyped key would send a chat to the wrong agent.
    guarded section Route {
        "match" => conditions: BTreeMap<String, At<String>>,
        "agent" => agent: String,
    }
}

section! {
    /// One of `providers`. A mistyped key could send a secret elsewhere.
    guarded section Provider {
        "dialect" => dialect: String,
        "base_url" => base_url: String,
        "api_key_env" => api_key_env: String,
        "api_key_file" => api_key_file: String,
        "api_key_command" => api_key_command: Vec<At<String>>,
        "allow_http" => allow_http: bool,
        "headers" => headers: BTreeMap<String, At<String>>,
        "query" => query: BTreeMap<String, At<String>>,
        "ca_file" => ca_file: String,
        "tool_text" => tool_text: bool,
    }
}

section! {
    /// One of `prices`. A mistyped one would keep a limit from being reached.
    guarded section Price {
        "input" => input: f64,
        "cached" => cached: f64,
        "output" => output: f64,
    }
}

section! {
    /// `sandbox`.
    guarded section Sandbox {
        "mode" => mode: String,
        "network" => network: bool,
        "writable" => writable: Vec<At<String>>,
        "env" => env: Vec<At<String>>,
        "memory_mb" => memory_mb: u64,
        "cpu_seconds" => cpu_seconds: u64,
        "image" => image: String,
    }
}

section! {
    /// `web`. A mistyped `proxy` would let requests go past it.
    guarded section Web {
        "proxy" => proxy: String,
        "allow_addresses" => allow_addresses: Vec<At<String>>,
    }
}

section! {
    /// `logging`.
    plain section Logging {
        "level" => level: String,
        "format" => format: String,
        "file" => file: String,
    }
}
