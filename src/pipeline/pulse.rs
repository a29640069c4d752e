//! When an answer that says nothing is due a sign of life, and what that is.
//!
//! Guarantees: a sign means nothing in the format of the answer, and stands between its frames, never inside one; there
//! is none while frames come more often than that. An answer costs one timer, which is not set anew for each frame.
//! Does not: keep anything alive beyond the deadlines of Ollama's silence, nor tell one who reads from one who does not.

use http::header::HeaderValue;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};

/// A format of answers, as far as signs of life go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::pipeline) enum Beat {
    /// White space before a value of JSON, or before the next line of them.
    Space,
    /// A comment of server-sent events.
    Comment,
}

impl Beat {
    /// Its bytes.
    pub(in crate::pipeline) const fn bytes(self) -> &'static [u8] {
        match self {
            Self::Space => b" ",
            Self::Comment => b": \n\n",
        }
    }

    /// The content type of a stream that has it.
    pub(in crate::pipeline) const fn stream_type(self) -> HeaderValue {
        match self {
            Self::Space => HeaderValue::from_static("application/x-ndjson"),
            Self::Comment => HeaderValue::from_static("text/event-stream"),
        }
    }
}

/// The signs of life of one answer.
#[derive(Debug)]
pub(in crate::pipeline) struct Pulse {
    beat: Beat,
    every: Duration,
    due: Instant,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Pulse {
    /// The first one is due after `every`.
    pub(in crate::pipeline) fn new(beat: Beat, every: Duration) -> Self {
        Self { beat, every, due: Instant::now() + every, timer: None }
    }

    /// The first one is due at once.
    pub(in crate::pipeline) fn overdue(beat: Beat, every: Duration) -> Self {
        Self { due: Instant::now(), ..Self::new(beat, every) }
    }

    /// A frame went out.
    pub(in crate::pipeline) fn sent(&mut self) {
        self.due = Instant::now() + self.every; // the timer looks here when it goes off
    }

    /// Waits until nothing was sent for so long.
    pub(in crate::pipeline) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<&'static [u8]> {
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(self.due)));
        loop {
            ready!(timer.as_mut().poll(cx));
            let now = Instant::now();
            if now >= self.due {
                self.due = now + self.every;
                timer.as_mut().reset(self.due);
                return Poll::Ready(self.beat.bytes());
            }
            timer.as_mut().reset(self.due);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    const EVERY: Duration = Duration::from_millis(40);

    #[tokio::test]
    async fn beats_come_after_each_silence() {
        let (began, mut pulse) = (Instant::now(), Pulse::new(Beat::Space, EVERY));
        for beat in 1..=3 {
            assert_eq!(poll_fn(|cx| pulse.poll(cx)).await, b" ");
            assert!(Instant::now() - began >= EVERY * beat);
        }
    }

    #[tokio::test]
    async fn frames_put_them_off() {
        let mut pulse = Pulse::new(Beat::Comment, EVERY);
        let mut last = Instant::now();
        let mut frames = 0;
        while frames < 40 {
            tokio::time::sleep(EVERY / 8).await;
            match poll_fn(|cx| Poll::Ready(pulse.poll(cx))).await {
                Poll::Ready(_) => assert!(Instant::now() - last >= EVERY), // a busy machine was that late
                Poll::Pending => frames += 1,
            }
            last = Instant::now();
            pulse.sent();
        }
        assert_eq!(poll_fn(|cx| pulse.poll(cx)).await, b": \n\n");
        assert!(Instant::now() - last >= EVERY);
    }

    #[tokio::test]
    async fn an_overdue_one_beats_at_once_and_then_like_others() {
        let (began, mut pulse) = (Instant::now(), Pulse::overdue(Beat::Comment, EVERY));
        assert!(pulse.due <= Instant::now());
        poll_fn(|cx| pulse.poll(cx)).await;
        assert_eq!(poll_fn(|cx| pulse.poll(cx)).await, b": \n\n");
        assert!(Instant::now() - began >= EVERY);
    }
}
