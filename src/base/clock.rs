//! Time as a parameter: the system's, or one that a test moves.

use std::fs;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, clock_gettime};

use crate::base::lock::lock;
use crate::base::shown::shown_by_name;

/// Where times come from: that of the day, which somebody may set, and that since the boot, which
/// nobody can.
pub trait Clock: Send + Sync {
    /// The time now.
    fn now(&self) -> SystemTime;

    /// How long the machine runs, its sleep included.
    fn since_boot(&self) -> Duration;

    /// Names the boot that this time began at.
    fn boot(&self) -> String;
}

shown_by_name!(Clock);

/// The system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }

    fn since_boot(&self) -> Duration {
        let time = clock_gettime(ClockId::Boottime);
        let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
        Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
    }

    /// Source: random(4). In a container it is the boot of the machine around it, as is the time.
    fn boot(&self) -> String {
        let id = fs::read_to_string("/proc/sys/kernel/random/boot_id");
        id.unwrap_or_default().trim().to_owned()
    }
}

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub struct FakeClock(Mutex<Faked>);

#[derive(Debug)]
struct Faked {
    now: SystemTime,
    since_boot: Duration,
    boots: u32,
}

impl FakeClock {
    /// A clock that shows `start`.
    pub fn at(start: SystemTime) -> FakeClock {
        FakeClock(Mutex::new(Faked {
            now: start,
            since_boot: Duration::ZERO,
            boots: 1,
        }))
    }

    /// Lets time go by.
    pub fn advance(&self, by: Duration) {
        let mut faked = self.faked();
        faked.now += by;
        faked.since_boot += by;
    }

    /// Sets the time of day so many seconds ahead, or back.
    pub fn leap(&self, seconds: i64) {
        let mut faked = self.faked();
        let by = Duration::from_secs(seconds.unsigned_abs());
        if seconds < 0 {
            faked.now -= by;
        } else {
            faked.now += by;
        }
    }

    /// The machine starts anew.
    pub fn reboot(&self) {
        let mut faked = self.faked();
        faked.since_boot = Duration::ZERO;
        faked.boots += 1;
    }

    fn faked(&self) -> MutexGuard<'_, Faked> {
        lock(&self.0)
    }
}

impl Clock for FakeClock {
    fn now(&self) -> SystemTime {
        self.faked().now
    }

    fn since_boot(&self) -> Duration {
        self.faked().since_boot
    }

    fn boot(&self) -> String {
        self.faked().boots.to_string()
    }
}
