//! How a gateway is, for those who ask while it works.

use std::sync::{Arc, Mutex};

use crate::base::lock::lock;
use crate::domain::time::Timestamp;

/// How a gateway is. Cheap to clone; all clones speak of the same one.
#[derive(Debug, Clone, Default)]
pub struct GatewayHealth(Arc<Mutex<HealthState>>);

/// For a few lines without I/O; shared by the gateway's threads and those who answer requests.
#[derive(Debug, Default)]
struct HealthState {
    trouble: Option<String>,
    heard_at: Option<Timestamp>,
}

impl GatewayHealth {
    /// What is wrong, in a sentence without secrets; `None` where nothing is known to be.
    pub fn trouble(&self) -> Option<String> {
        lock(&self.0).trouble.clone()
    }

    /// When something last came from the platform.
    pub fn heard_at(&self) -> Option<Timestamp> {
        lock(&self.0).heard_at
    }

    /// Says what is wrong, or that nothing is any more; returns whether that is news.
    pub fn set_trouble(&self, trouble: Option<String>) -> bool {
        let mut state = lock(&self.0);
        let is_news = state.trouble != trouble;
        state.trouble = trouble;
        is_news
    }

    /// Something came from the platform.
    pub fn hear(&self, now: Timestamp) {
        lock(&self.0).heard_at = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trouble_is_news_once() {
        let health = GatewayHealth::default();
        let other = health.clone();
        assert!(!health.set_trouble(None));
        assert!(health.set_trouble(Some("no token".to_owned())));
        assert!(!other.set_trouble(Some("no token".to_owned())));
        assert_eq!(other.trouble().as_deref(), Some("no token"));
        assert!(other.set_trouble(None));
        assert_eq!(health.trouble(), None);
        health.hear(Timestamp::from_micros(7));
        assert_eq!(other.heard_at(), Some(Timestamp::from_micros(7)));
    }
}
