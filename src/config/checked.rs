//! From what the file says to what the program may rely on.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf, absolute};
use std::time::Duration;

use crate::base::yaml::expand::Environment;
use crate::base::yaml::read::{At, Report, or_default, plain};
use crate::base::yaml::tree::NodeId;
use crate::config::{
    Config, ExternalGateway, Gateways, LogFormat, Logging, Overrides, Restart, Route, Sandbox,
    SandboxMode, Server, Sessions, Telegram, raw,
};
use crate::domain::ids::AgentName;
use crate::domain::secret::Secret;

/// Where values come from, beside the file.
pub(super) struct Sources<'a> {
    /// The file, if there is one.
    pub(super) file: Option<&'a Path>,
    /// The command line.
    pub(super) overrides: &'a Overrides,
    /// The environment.
    pub(super) environment: Environment<'a>,
}

impl Sources<'_> {
    /// What stands, in this order: the flag, the variable, the file.
    fn first<T>(
        &self,
        flag: Option<T>,
        variable: &'static str,
        parse: impl FnOnce(String) -> T,
        file: Option<At<T>>,
    ) -> Option<At<T>> {
        let given = |value, key: &str| At {
            value,
            node: NodeId::ROOT,
            key: key.to_owned(),
        };
        let flag = flag.map(|value| given(value, "the command line"));
        flag.or_else(|| (self.environment)(variable).filter(|text| !text.is_empty()).map(|text| given(parse(text), variable)))
            .or(file)
    }
}
