//! Which models Ollama has in memory, as far as the queue can tell, and when it may be made to load another one.
//!
//! Guarantees: between two switches lies at least the time that the bound says, so no minute sees more of them than that;
//! loading into room that is free is no switch. Does not: know what Ollama unloads by itself when nobody calls
//! (`keep_alive`): a model that was the last to run counts as loaded until another one takes its place.

use crate::config::types::ModelSwitches;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// The models that ran last.
#[derive(Debug, Default)]
pub(super) struct Affinity {
    bound: Option<ModelSwitches>,
    /// The one that was started last is the last.
    loaded: Vec<Arc<str>>,
    /// Those that others took the place of; the last one is the last.
    unloaded: VecDeque<Arc<str>>,
    /// When the next switch may be.
    opens: Duration,
}

/// Models whose turns are remembered.
const REMEMBERED: usize = 64;

impl Affinity {
    pub(super) fn new(bound: Option<ModelSwitches>) -> Self {
        Self { bound, ..Self::default() }
    }

    /// Another bound; what is loaded stays.
    pub(super) fn rebind(&mut self, bound: Option<ModelSwitches>) {
        self.bound = bound;
        self.shrink();
    }

    /// How long a request for a model that is not loaded lets those go first whose model is; `None`: there is no bound.
    pub(super) fn patience(&self) -> Option<Duration> {
        self.bound.map(|bound| bound.every())
    }

    /// Whether a request of this model runs without a switch.
    pub(super) fn suits(&self, model: Option<&Arc<str>>) -> bool {
        let Some(bound) = self.bound else { return true };
        model.is_none_or(|model| self.loaded.len() < bound.loaded || self.loaded.contains(model))
    }

    /// Whether one of this model may start at `now`.
    pub(super) fn allows(&self, now: Duration, model: Option<&Arc<str>>) -> bool {
        self.suits(model) || self.opens <= now
    }

    /// Whose turn it is among models that are not loaded: the least. One that ran long ago, or never, goes first.
    pub(super) fn rank(&self, model: Option<&Arc<str>>) -> usize {
        let place = self.unloaded.iter().position(|unloaded| Some(unloaded) == model);
        place.map_or(0, |place| place.saturating_add(1))
    }

    /// When the next switch may be.
    pub(super) const fn opens(&self) -> Duration {
        self.opens
    }

    /// One of this model starts.
    pub(super) fn started(&mut self, now: Duration, model: Option<&Arc<str>>) {
        let (Some(bound), Some(model)) = (self.bound, model) else { return };
        if !self.suits(Some(model)) {
            self.opens = now.saturating_add(bound.every());
        }
        self.loaded.retain(|loaded| loaded != model);
        self.unloaded.retain(|unloaded| unloaded != model);
        self.loaded.push(Arc::clone(model));
        self.shrink();
    }

    fn shrink(&mut self) {
        let room = self.bound.map_or(0, |bound| bound.loaded);
        let surplus = self.loaded.len().saturating_sub(room);
        self.unloaded.extend(self.loaded.drain(..surplus));
        let surplus = self.unloaded.len().saturating_sub(REMEMBERED);
        self.unloaded.drain(..surplus);
    }
}
