//! Limits that need no body: request rates, failed authentications, connections, requests in flight, the fair queue.
//!
//! Guarantees: every map has a cap or is as large as what is open now; what counts is a principal or an address prefix,
//! never a text that a client chose; what is taken is given back by `Drop`. Answers `threats.md` §5 (11, 12, 20) and
//! the unbounded key map of rate limiters. Does not: share counts between processes, but those
//! of budgets ([`Ledger`]), through the store.

mod address;
mod affinity;
mod bans;
mod bucket;
mod concurrency;
mod connections;
mod failures;
mod keys;
mod ledger;
mod queue;
mod rate;
mod reservation;
mod slots;
mod usage;
mod write_behind;

pub use address::{AddressPrefix, PrincipalId, Subject};
pub use bans::{BanList, Misdeed, Misdeeds};
pub use bucket::{Exceeded, Quota};
pub use concurrency::{Busy, InFlight, Permit};
pub use connections::{ConnectionSlot, ConnectionSlots, Full};
pub use ledger::{Account, Amounts, Ledger, UsedUp};
pub use queue::{Arrival, Asker, FairQueue, QueueShape, Running, Ticket};
pub use rate::RateLimiters;
pub use reservation::{Cost, Cut, Need, Reservation};
pub use slots::{NoSlot, Slot, Slots, Turn};
pub use usage::{UsageMeter, date_of, day_of};
