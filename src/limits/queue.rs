//! The fair queue in front of Ollama, as a value: who runs, who waits, who is next. It reads no clock and wakes nobody.
//!
//! Guarantees: never more running than there are slots, never more waiting than the length; callers share the slots by
//! the time that their requests take, each by its weight (start-time fair queueing: a caller pays for what its requests
//! really took, so long answers are no way round it); a newcomer pays for nothing that happened before it came. In a
//! full queue the caller with most requests waiting loses its last one, so nobody is kept out by another's flood.
//! With a bound on model switches, a request whose model is loaded goes before one that would make Ollama load another;
//! one that has waited as long as lies between two switches goes before all others as soon as a switch may be and a slot is
//! free, that of the model that ran longest ago first. So no model waits for more than one switch to each other one.
//! Answers `threats.md` §5 item 11, `field.md` E 26. Does not: interrupt what runs.

use super::address::Subject;
use super::affinity::Affinity;
use crate::config::types::ModelSwitches;
use std::collections::{HashMap, VecDeque};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

/// How large the queue is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueShape {
    /// Requests that run at the same time. Not 0.
    pub slots: usize,
    /// Requests that wait.
    pub length: usize,
    /// How often Ollama may be made to load another model; `None`: as often as callers like.
    pub switches: Option<ModelSwitches>,
}

/// Who asks for a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asker {
    /// Whose share it comes out of.
    pub subject: Subject,
    /// How large the share is, against those of others.
    pub weight: NonZeroU32,
    /// The canonical name of the model, where it runs one.
    pub model: Option<Arc<str>>,
}

/// One request that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket(u64);

/// One request that runs. It must come back to [`FairQueue::release`].
#[derive(Debug)]
#[must_use = "a slot that is not released is lost"]
pub struct Running {
    asker: Asker,
    since: Duration,
    paid: f64,
}

/// What became of a request that came.
#[derive(Debug)]
pub enum Arrival<G> {
    /// It runs.
    Runs(Running, G),
    /// It waits.
    Waits {
        /// To leave with.
        ticket: Ticket,
        /// How many slots will be given to others before it, as far as one can tell.
        ahead: usize,
        /// Who had to leave for it.
        pushed_out: Option<G>,
    },
    /// The queue is full, and nobody has more waiting than this caller.
    Full,
}

/// The queue. `G` is whatever wakes the one who waits.
#[derive(Debug)]
pub struct FairQueue<G> {
    shape: QueueShape,
    callers: HashMap<Subject, Caller<G>>,
    running: usize,
    waiting: usize,
    /// The virtual time: where the share of the last one to start began.
    clock: f64,
    service: ServiceTime,
    affinity: Affinity,
    tickets: u64,
}

#[derive(Debug)]
struct Caller<G> {
    waiting: VecDeque<Waiting<G>>,
    running: usize,
    /// The virtual time up to which its share is used.
    used: f64,
}

#[derive(Debug)]
struct Waiting<G> {
    ticket: Ticket,
    weight: NonZeroU32,
    model: Option<Arc<str>>,
    came: Duration,
    grant: G,
}

impl<G> FairQueue<G> {
    /// Nothing runs or waits.
    #[must_use]
    pub fn new(shape: QueueShape) -> Self {
        let (callers, service) = (HashMap::new(), ServiceTime::default());
        let affinity = Affinity::new(shape.switches);
        Self { shape, callers, running: 0, waiting: 0, clock: 0.0, service, affinity, tickets: 0 }
    }

    /// A request comes.
    pub fn arrive(&mut self, now: Duration, asker: &Asker, grant: G) -> Arrival<G> {
        let may_start = self.running < self.shape.slots && self.affinity.allows(now, asker.model.as_ref());
        if self.waiting == 0 && may_start {
            return Arrival::Runs(self.start(now, asker), grant);
        }
        let ahead = self.ahead_of(&asker.subject);
        let mut pushed_out = None;
        if self.waiting >= self.shape.length {
            pushed_out = self.push_out(&asker.subject);
            if pushed_out.is_none() {
                return Arrival::Full;
            }
        }
        self.tickets = self.tickets.wrapping_add(1);
        let ticket = Ticket(self.tickets);
        let clock = self.clock;
        let caller = self.callers.entry(asker.subject.clone()).or_insert_with(|| Caller::new(clock));
        caller.wake(clock);
        let (weight, model) = (asker.weight, asker.model.clone());
        caller.waiting.push_back(Waiting { ticket, weight, model, came: now, grant });
        self.waiting += 1;
        Arrival::Waits { ticket, ahead, pushed_out }
    }

    /// A request that waits goes away. One that runs already is not touched.
    pub fn leave(&mut self, subject: &Subject, ticket: Ticket) {
        let Some(caller) = self.callers.get_mut(subject) else { return };
        let Some(at) = caller.waiting.iter().position(|waiting| waiting.ticket == ticket) else { return };
        caller.waiting.remove(at);
        self.waiting = self.waiting.saturating_sub(1);
        self.forget(subject);
    }

    /// A request that ran is over: its caller pays what it really took.
    pub fn release(&mut self, now: Duration, running: Running) {
        let took = now.saturating_sub(running.since);
        self.service.took(took);
        self.running = self.running.saturating_sub(1);
        let Running { asker, paid, .. } = running;
        if let Some(caller) = self.callers.get_mut(&asker.subject) {
            caller.running = caller.running.saturating_sub(1);
            caller.used += share(took, asker.weight) - paid;
        }
        self.forget(&asker.subject);
    }

    /// The next one to run, if a slot is free. To be called until it says no.
    pub fn next(&mut self, now: Duration) -> Option<(Running, G)> {
        if self.running >= self.shape.slots {
            return None;
        }
        let (subject, place) = match self.affinity.patience() {
            None => self.first(|_| true)?,
            Some(patience) => self.first_by_model(now, patience)?,
        };
        let next = self.callers.get_mut(&subject)?.waiting.remove(place)?;
        self.waiting = self.waiting.saturating_sub(1);
        Some((self.start(now, &Asker { subject, weight: next.weight, model: next.model }), next.grant))
    }

    /// Whose turn it is among those who have a request that fits, and the place of that request among their own.
    fn first(&self, fits: impl Fn(&Waiting<G>) -> bool) -> Option<(Subject, usize)> {
        let places = self.callers.iter().filter_map(|(subject, caller)| {
            let place = caller.waiting.iter().position(&fits)?;
            Some((subject, place, caller.turn()))
        });
        let (subject, place, _) = places.min_by(|(.., a), (.., b)| a.total_cmp(b))?;
        Some((subject.clone(), place))
    }

    /// One that has waited long enough for a switch, of the model whose turn it is; else one whose model is loaded; else any.
    fn first_by_model(&self, now: Duration, patience: Duration) -> Option<(Subject, usize)> {
        let suits = |waiting: &Waiting<G>| self.affinity.suits(waiting.model.as_ref());
        if self.affinity.opens() > now {
            return self.first(suits);
        }
        let long = |waiting: &Waiting<G>| !suits(waiting) && now.saturating_sub(waiting.came) >= patience;
        let due = self.callers.iter().filter_map(|(subject, caller)| {
            let turn = |waiting: &Waiting<G>| (self.affinity.rank(waiting.model.as_ref()), waiting.ticket.0);
            let long = caller.waiting.iter().enumerate().filter(|(_, waiting)| long(waiting));
            let (place, turn) = long.map(|(place, waiting)| (place, turn(waiting))).min_by_key(|(_, turn)| *turn)?;
            Some((subject, place, turn))
        });
        let due = due.min_by_key(|(.., turn)| *turn).map(|(subject, place, _)| (subject.clone(), place));
        due.or_else(|| self.first(suits)).or_else(|| self.first(|_| true))
    }

    /// When it is worth asking for the next one again though nothing comes and nothing ends: slots are free, and what
    /// waits would switch the model.
    #[must_use]
    pub const fn opens_at(&self) -> Option<Duration> {
        let blocked = self.waiting > 0 && self.running < self.shape.slots;
        if blocked { Some(self.affinity.opens()) } else { None }
    }

    /// More or fewer slots, a longer or shorter queue. Who is there already stays.
    pub fn reshape(&mut self, shape: QueueShape) {
        self.shape = shape;
        self.affinity.rebind(shape.switches);
    }

    /// How long it will probably be until a request that comes now gets its turn, from what requests took lately.
    #[must_use]
    pub fn expected_wait(&self, subject: &Subject) -> Duration {
        let turns = self.ahead_of(subject).saturating_add(1);
        self.service.mean().mul_f64(turns as f64 / self.shape.slots.max(1) as f64)
    }

    /// How long until one of this caller's own requests is over, probably.
    #[must_use]
    pub fn expected_return(&self, subject: &Subject) -> Duration {
        let own = self.callers.get(subject).map_or(1, |caller| caller.running.max(1));
        self.service.mean().div_f64(own as f64)
    }

    /// How long a request takes, from what they took lately.
    #[must_use]
    pub fn expected_time(&self) -> Duration {
        self.service.mean()
    }

    /// How many run, and how many wait.
    #[must_use]
    pub const fn load(&self) -> (usize, usize) {
        (self.running, self.waiting)
    }

    fn start(&mut self, now: Duration, asker: &Asker) -> Running {
        let paid = share(self.service.mean(), asker.weight);
        self.affinity.started(now, asker.model.as_ref());
        let clock = self.clock;
        let caller = self.callers.entry(asker.subject.clone()).or_insert_with(|| Caller::new(clock));
        caller.wake(clock);
        self.clock = self.clock.max(caller.used);
        caller.used += paid;
        caller.running += 1;
        self.running += 1;
        Running { asker: asker.clone(), since: now, paid }
    }

    /// Each other caller gets as many turns as this one needs, if it has as many waiting.
    fn ahead_of(&self, subject: &Subject) -> usize {
        let own = self.callers.get(subject).map_or(0, |caller| caller.waiting.len());
        let others = self.callers.iter().filter(|(other, _)| *other != subject);
        own + others.map(|(_, caller)| caller.waiting.len().min(own + 1)).sum::<usize>()
    }

    /// The last request of the caller with most of them, if that is more than this caller would have.
    fn push_out(&mut self, newcomer: &Subject) -> Option<G> {
        let own = self.callers.get(newcomer).map_or(0, |caller| caller.waiting.len());
        let (subject, caller) = self.callers.iter_mut().max_by_key(|(_, caller)| caller.waiting.len())?;
        if caller.waiting.len() <= own + 1 {
            return None;
        }
        let last = caller.waiting.pop_back()?;
        let subject = subject.clone();
        self.waiting = self.waiting.saturating_sub(1);
        self.forget(&subject);
        Some(last.grant)
    }

    /// A caller with nothing here is forgotten once the others have caught up with what it used.
    fn forget(&mut self, subject: &Subject) {
        let clock = self.clock;
        let gone = |caller: &Caller<G>| caller.waiting.is_empty() && caller.running == 0;
        if self.running + self.waiting == 0 {
            self.callers.clear(); // nobody is left to be fair to
        } else if self.callers.len() > KEPT {
            self.callers.retain(|_, caller| !gone(caller));
        } else if self.callers.get(subject).is_some_and(|caller| gone(caller) && caller.used <= clock) {
            self.callers.remove(subject);
        }
    }
}

impl<G> Caller<G> {
    const fn new(clock: f64) -> Self {
        Self { waiting: VecDeque::new(), running: 0, used: clock }
    }

    /// Whoever had nothing here saved nothing up.
    fn wake(&mut self, clock: f64) {
        if self.waiting.is_empty() && self.running == 0 {
            self.used = self.used.max(clock);
        }
    }

    const fn turn(&self) -> f64 {
        self.used
    }
}

/// Callers whose use is remembered though they have nothing here.
const KEPT: usize = 4096;

fn share(time: Duration, weight: NonZeroU32) -> f64 {
    time.as_secs_f64() / f64::from(weight.get())
}

/// What requests took lately: a mean in which old ones fade.
#[derive(Debug, Default)]
struct ServiceTime(Option<f64>);

impl ServiceTime {
    /// How much the last one counts.
    const NEWEST: f64 = 0.1;
    /// What is said before anything was measured.
    const GUESS: Duration = Duration::from_secs(5);

    fn took(&mut self, time: Duration) {
        let time = time.as_secs_f64();
        self.0 = Some(self.0.map_or(time, |mean| mean + Self::NEWEST * (time - mean)));
    }

    fn mean(&self) -> Duration {
        self.0.map_or(Self::GUESS, |mean| Duration::try_from_secs_f64(mean).unwrap_or(Self::GUESS))
    }
}
