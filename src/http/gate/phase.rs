//! How far the gate is, between its thread and its owner.

use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};

/// Shared by the gate's thread, which counts, and its owner, who says how far it is to go.
#[derive(Debug, Default)]
pub(super) struct GateState {
    phase: AtomicU8,
    /// Connections that are open.
    pub(super) open: AtomicUsize,
    /// How often the thread has woken.
    pub(super) wakes: AtomicU64,
}

/// How far the gate is on its way to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Running,
    Draining,
    Stopped,
}

impl GateState {
    pub(super) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Running,
            1 => Phase::Draining,
            _ => Phase::Stopped,
        }
    }

    /// Goes on to `phase`, never back.
    pub(super) fn enter(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, Ordering::AcqRel);
    }
}
