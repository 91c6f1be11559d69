//! HTTP: requests into engine calls, notices into bytes; no decisions.
