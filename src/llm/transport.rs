//! How ureq's connections reach a model: what they do by themselves, but for three things.
//!
//! - A name is looked up where a connection is made. ureq looks before it knows whether it has one.
//! - A request's head goes out with the beginning of its body: ureq sends it alone.
//! - What is there of an answer's end can be read without waiting for more: see [`Haste`].
//!
//! What TLS needs is made once, and each connection after the first one to a server resumes.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, NextTimeout, Transport, time,
};
use ureq::{Agent, Error, Timeout};

use crate::base::tls::TlsConnector;

/// Nothing can interrupt a look-up, so it is short.
pub(super) const RESOLVE_MAX: Duration = Duration::from_secs(5);

/// An agent whose connections are made by `connector` and obey `haste`.
pub(super) fn agent(config: Config, connector: TlsConnector, haste: &Haste) -> Agent {
    let connector = ModelConnector {
        inner: connector,
        haste: haste.clone(),
    };
    Agent::with_parts(config, connector, LateResolver)
}

/// How long the reads of a connection may wait, where that is less than what its request allows.
#[derive(Debug, Clone, Default)]
pub(super) struct Haste(Arc<AtomicU32>);

impl Haste {
    /// Has reads wait for `limit` at most, in whole milliseconds; without one, for as long as their
    /// request allows.
    pub(super) fn set(&self, limit: Option<Duration>) {
        let ms = limit.map_or(0, |limit| limit.as_millis().max(1));
        let ms = u32::try_from(ms).unwrap_or(u32::MAX);
        self.0.store(ms, Ordering::Relaxed);
    }

    fn limit(&self) -> Option<time::Duration> {
        let ms = self.0.load(Ordering::Relaxed);
        (ms > 0).then(|| time::Duration::from_millis(ms.into()))
    }
}

/// Looks up only what a proxy has to be told; for all else, [`ModelConnector`] does.
#[derive(Debug)]
struct LateResolver;

impl Resolver for LateResolver {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        if config.proxy().is_some() {
            DefaultResolver::default().resolve(uri, config, timeout)
        } else {
            Ok(self.empty())
        }
    }
}

#[derive(Debug)]
struct ModelConnector {
    inner: TlsConnector,
    haste: Haste,
}

impl Connector for ModelConnector {
    type Out = ModelTransport;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<()>,
    ) -> Result<Option<ModelTransport>, Error> {
        let addrs = if details.addrs.is_empty() && details.config.proxy().is_none() {
            look_up(details)?
        } else {
            details.addrs.clone()
        };
        let details = ConnectionDetails {
            uri: details.uri,
            addrs,
            config: details.config,
            // Requests differ in their time limits. What TLS is told is the same, and so it is kept.
            request_level: false,
            resolver: details.resolver,
            now: details.now,
            timeout: details.timeout,
            current_time: Arc::clone(&details.current_time),
            run_connector: Arc::clone(&details.run_connector),
            register_shutdown: Arc::clone(&details.register_shutdown),
        };
        let inner = self.inner.connect(&details, chained)?;
        Ok(inner.map(|inner| ModelTransport {
            inner,
            head: Vec::new(),
            is_between: true,
            haste: self.haste.clone(),
        }))
    }
}

fn look_up(details: &ConnectionDetails<'_>) -> Result<ResolvedSocketAddrs, Error> {
    let host = details.uri.host().unwrap_or_default();
    let is_address = host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
    let mut timeout = details.timeout;
    if is_address {
        // A limit would cost a thread.
        timeout.after = time::Duration::NotHappening;
    } else if *timeout.after > RESOLVE_MAX {
        timeout.after = RESOLVE_MAX.into();
        timeout.reason = Timeout::Resolve;
    }
    DefaultResolver::default().resolve(details.uri, details.config, timeout)
}

#[derive(Debug)]
struct ModelTransport {
    inner: Box<dyn Transport>,
    /// The head of a request, which waits for the beginning of its body.
    head: Vec<u8>,
    /// What is sent next begins a request.
    is_between: bool,
    haste: Haste,
}

impl ModelTransport {
    /// Sends the head, and behind it the `amount` of output that is there.
    fn send_with_head(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        let head = std::mem::take(&mut self.head);
        let output = self.inner.buffers().output();
        // What gives way to the head, where there is no room for both.
        let first = amount.min(output.len() - head.len());
        let rest = output[first..amount].to_vec();
        output.copy_within(..first, head.len());
        output[..head.len()].copy_from_slice(&head);
        self.inner.transmit_output(head.len() + first, timeout)?;
        if rest.is_empty() {
            return Ok(());
        }
        self.inner.buffers().output()[..rest.len()].copy_from_slice(&rest);
        self.inner.transmit_output(rest.len(), timeout)
    }
}

impl Transport for ModelTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        if std::mem::take(&mut self.is_between) {
            self.head = self.inner.buffers().output()[..amount].to_vec();
            return Ok(());
        }
        if self.head.is_empty() {
            return self.inner.transmit_output(amount, timeout);
        }
        self.send_with_head(amount, timeout)
    }

    fn await_input(&mut self, mut timeout: NextTimeout) -> Result<bool, Error> {
        if !self.head.is_empty() {
            self.send_with_head(0, timeout)?;
        }
        self.is_between = true;
        if let Some(limit) = self.haste.limit() {
            timeout.after = timeout.after.min(limit);
        }
        self.inner.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        // After a read in haste the connection is used again at once, and looked at for that.
        self.haste.limit().is_some() || self.inner.is_open()
    }

    fn is_tls(&self) -> bool {
        self.inner.is_tls()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use ureq::unversioned::transport::LazyBuffers;

    use super::*;
    use crate::base::lock::lock;

    /// Remembers each piece that was sent.
    #[derive(Debug)]
    struct SentPieces {
        buffers: LazyBuffers,
        sent: Arc<Mutex<Vec<String>>>,
    }

    impl Transport for SentPieces {
        fn buffers(&mut self) -> &mut dyn Buffers {
            &mut self.buffers
        }

        fn transmit_output(&mut self, amount: usize, _: NextTimeout) -> Result<(), Error> {
            let piece = self.buffers.output()[..amount].to_vec();
            lock(&self.sent).push(String::from_utf8(piece).unwrap());
            Ok(())
        }

        fn await_input(&mut self, _: NextTimeout) -> Result<bool, Error> {
            Ok(true)
        }

        fn is_open(&mut self) -> bool {
            true
        }
    }

    #[test]
    fn a_head_goes_out_with_the_beginning_of_its_body() {
        let requests: [(&[&str], &[&str]); 4] = [
            (&["head", "body"], &["headbody"]),
            (&["head", "long bod", "y"], &["headlong", " bod", "y"]),
            (&["head"], &["head"]),
            (&["whole hd", "body"], &["whole hd", "body"]),
        ];
        let sent = Arc::default();
        let mut transport = ModelTransport {
            inner: Box::new(SentPieces {
                buffers: LazyBuffers::new(8, 8),
                sent: Arc::clone(&sent),
            }),
            head: Vec::new(),
            is_between: true,
            haste: Haste::default(),
        };
        let timeout = NextTimeout::default();
        for (pieces, expected) in requests {
            for piece in pieces {
                let output = transport.buffers().output();
                output[..piece.len()].copy_from_slice(piece.as_bytes());
                transport.transmit_output(piece.len(), timeout).unwrap();
            }
            transport.await_input(timeout).unwrap();
            assert_eq!(std::mem::take(&mut *lock(&sent)), expected);
        }
    }
}
