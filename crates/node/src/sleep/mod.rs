//! Sleep: a container that nobody uses costs disk only, and wakes before anybody notices.
//!
//! ```text
//!             nobody uses it ([`idle`])            halted or frozen ([`fall`])
//!   running ───────────────────────────► doze ─────────────────────────────────► asleep
//!      ▲                                   │ used after all                         │
//!      ◄───────────────────────────────────┘                                        │
//!      └── a request ([`wake`]), a due cron entry ([`desk`], [`due`]), start ───────┘
//! ```
//!
//! Used is what has a request, a WebSocket (a terminal is one) or another tunnel under way through
//! the proxy, or uses CPU above a threshold. Traffic that does not pass the proxy is not seen.
//!
//! Two modes. `stop` halts it: what runs inside ends, no process, descriptor or interface of it is
//! left, and it wakes by a boot. `freeze` keeps it in memory and takes back what memory it can do
//! without: page cache always, what its programs hold only as far as the box has swap. It wakes
//! with everything as it was, but its shim, its interface and its memory without swap stay.
//!
//! One task ([`watch`]) looks after all of them. It knows only containers that may fall asleep or
//! have a cron entry to wake for; while there are none it waits for events and nothing else.

mod desk;
mod due;
mod fall;
mod idle;
mod timer;
mod wake;

#[cfg(test)]
mod tests;

pub use desk::watch;
