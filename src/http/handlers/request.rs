//! A request as handlers see it: whole, let in, and of one who is known where that matters.

use crate::base::socket_owner::Ends;
use crate::domain::ids::SourceId;
use crate::http::headers;
use crate::http::problem::HttpProblem;
use crate::http::requester::Requester;

/// A whole request, so that handlers can be tried without a connection.
pub trait ApiRequest {
    /// The method, as sent.
    fn method(&self) -> &str;
    /// The path, as sent, without the query.
    fn path(&self) -> &str;
    /// What stands after the `?`; empty without one.
    fn query(&self) -> &str;
    /// The values of a header, in order.
    fn values(&self, name: &str) -> Vec<&str>;
    /// The value of a header that has one, if it stands there; see [`headers::check_single`].
    fn header(&self, name: &str) -> Option<&str> {
        self.values(name).first().copied()
    }
    /// The list that a header is, if it stands there: it may be spread over several.
    ///
    /// Source: RFC 9110, section 5.3.
    fn list(&self, name: &str) -> Option<String> {
        let values = self.values(name);
        (!values.is_empty()).then(|| values.join(", "))
    }
    /// The whole body.
    fn body(&self) -> &[u8];
    /// Who sent it; `None` where nobody needed to be known.
    fn requester(&self) -> Option<&Requester>;
    /// The two addresses of its connection.
    fn ends(&self) -> Ends;
}

/// The sender's own key of a request that may be repeated.
///
/// Errors: 400 for one that could not be kept.
pub(super) fn key_of(request: &dyn ApiRequest) -> Result<Option<SourceId>, HttpProblem> {
    headers::idempotency_key(request.header("Idempotency-Key"))
}
