//! Which of the newest streams exist, and which of them the peer has finished.
//!
//! Only the newest [`KNOWN`] numbers are remembered, as bits. Of an older stream nothing is
//! claimed; `h2`, which knows the open ones, decides.

/// How many streams are remembered.
const KNOWN: u32 = u128::BITS;

/// The state of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Newer than any that was opened.
    Idle,
    /// Its number was passed over when a newer one was opened.
    Skipped,
    /// Opened, and the peer may still send on it.
    Open,
    /// The peer has ended or reset it.
    Finished,
    /// Too old to be remembered.
    Forgotten,
}

/// Streams with odd numbers, which clients open. There are no others, because pushes are not accepted.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Streams {
    /// The newest that was opened; 0 for none.
    last: u32,
    /// Bit `n`: the stream `last - 2n` was opened.
    opened: u128,
    /// Bit `n`: the peer has finished the stream `last - 2n`.
    finished: u128,
}

impl Streams {
    fn bit(&self, stream: u32) -> Option<u128> {
        let age = self.last.checked_sub(stream)? / 2;
        (age < KNOWN).then(|| 1 << age)
    }

    /// The state of a stream with an odd number.
    pub(super) fn state(&self, stream: u32) -> State {
        if stream > self.last {
            return State::Idle;
        }
        match self.bit(stream) {
            None => State::Forgotten,
            Some(bit) if self.finished & bit != 0 => State::Finished,
            Some(bit) if self.opened & bit != 0 => State::Open,
            Some(_) => State::Skipped,
        }
    }

    /// A stream newer than all others is opened.
    pub(super) fn open(&mut self, stream: u32) {
        let steps = stream.saturating_sub(self.last).div_ceil(2);
        self.opened = self.opened.checked_shl(steps).unwrap_or(0) | 1;
        self.finished = self.finished.checked_shl(steps).unwrap_or(0);
        self.last = stream;
    }

    /// The peer has sent its last on a stream.
    pub(super) fn finish(&mut self, stream: u32) {
        if let Some(bit) = self.bit(stream) {
            self.finished |= bit;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{State, Streams};

    #[test]
    fn states() {
        let mut streams = Streams::default();
        assert_eq!(streams.state(1), State::Idle);
        streams.open(1);
        assert_eq!(streams.state(1), State::Open);
        streams.open(7);
        streams.finish(1);
        let states = [1, 3, 5, 7, 9].map(|stream| streams.state(stream));
        let expected = [State::Finished, State::Skipped, State::Skipped, State::Open, State::Idle];
        assert_eq!(states, expected);
        streams.open(7 + 2 * 127);
        assert_eq!(streams.state(7), State::Open);
        assert_eq!(streams.state(5), State::Forgotten);
        streams.open(u32::MAX >> 1);
        assert_eq!(streams.state(7), State::Forgotten);
        assert_eq!(streams.state((u32::MAX >> 1) - 2), State::Skipped);
        streams.finish(7);
        assert_eq!(streams.state(u32::MAX >> 1), State::Open);
    }
}
