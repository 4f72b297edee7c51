//! How many frames of each kind a peer may send: a burst, and a rate per second.
//!
//! One token pays for one frame of a kind. Some frames of ours give tokens back, because a peer that receives much
//! has reason to send more. All numbers are in [`RATES`].

/// One bucket for each kind of cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bucket {
    Resets,
    OwnResets,
    Pings,
    Settings,
    EmptyData,
    TinyData,
    Priorities,
    WindowUpdates,
    SmallWindows,
    EmptyBlocks,
    Others,
}

const BUCKETS: usize = 11;

/// Tokens at the start and at most, and tokens per second.
struct Rate {
    bucket: Bucket,
    burst: u32,
    per_second: u32,
}

/// Content of a DATA frame below which its head weighs more than itself.
pub(super) const TINY_DATA_BYTES: u32 = 16;
/// Window increments and initial windows below this make us send tiny frames.
pub(super) const SMALL_WINDOW_BYTES: u32 = 64;
/// Settings in one frame that one token pays for. There are seven in use.
pub(super) const SETTINGS_PER_TOKEN: u32 = 32;
/// The cost of a tiny initial window: it may split every response under way into tiny frames.
pub(super) const SMALL_INITIAL_WINDOW_COST: u32 = 400;

#[rustfmt::skip]
const RATES: [Rate; BUCKETS] = [
    // CVE-2023-44487, rapid reset. A browser that leaves a page resets all streams of it at once,
    // twice that for two pages in a row. Every second response that we finish gives one token, so
    // that a busy gRPC client may cancel many.
    Rate { bucket: Bucket::Resets, burst: 200, per_second: 20 },
    // CVE-2025-8671, MadeYouReset: streams that we reset because of what the peer sent. A peer
    // that keeps the rules causes none, but for refused streams before it knows our limit.
    Rate { bucket: Bucket::OwnResets, burst: 100, per_second: 10 },
    // CVE-2019-9512. Keep-alive takes one in seconds; those who measure bandwidth send one with
    // what they receive, so a DATA frame of ours gives one token. Answers count too.
    Rate { bucket: Bucket::Pings, burst: 100, per_second: 10 },
    // CVE-2019-9515, CVE-2020-11080. One at the start, and a few by clients that tune windows.
    Rate { bucket: Bucket::Settings, burst: 30, per_second: 2 },
    // CVE-2019-9518. Nothing but the end of a stream needs an empty DATA frame.
    Rate { bucket: Bucket::EmptyData, burst: 100, per_second: 10 },
    // CVE-2019-9511 the other way round. Streams of tiny messages exist (chats, gRPC), many on one
    // connection, and one costs less than a request.
    Rate { bucket: Bucket::TinyData, burst: 50_000, per_second: 20_000 },
    // CVE-2019-9513, resource loop. Old browsers send a tree at the start, others one or two a
    // stream; a new stream gives two tokens. PRIORITY_UPDATE counts as well.
    Rate { bucket: Bucket::Priorities, burst: 200, per_second: 20 },
    // The most eager clients send two for each DATA frame, so one of ours gives two tokens.
    Rate { bucket: Bucket::WindowUpdates, burst: 1_000, per_second: 100 },
    // CVE-2019-9511, data dribble: windows that split what we send into tiny frames. Eager clients answer
    // each tiny message with such an update, and one costs less than a request.
    Rate { bucket: Bucket::SmallWindows, burst: 10_000, per_second: 1_000 },
    // CVE-2019-9518: empty HEADERS and CONTINUATION that do not end a field block.
    Rate { bucket: Bucket::EmptyBlocks, burst: 20, per_second: 1 },
    // Unknown types, which must be ignored (RFC 9113, section 4.1), and GOAWAY. Clients that send
    // reserved types to keep servers tolerant send one a stream; a new stream gives one token.
    Rate { bucket: Bucket::Others, burst: 100, per_second: 10 },
];

/// How much more an endpoint may send than a client: it is chosen by the operator, and serves many clients over one
/// connection.
pub(super) const ENDPOINT_SCALE: u32 = 10;

/// Tokens are kept in thousandths.
const TOKEN: u32 = 1000;
/// Filled up at most so often.
const REFILL_MS: u64 = 100;

/// The buckets of one connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct TokenBuckets {
    tokens: [u32; BUCKETS],
    /// When they were filled up last; `None` before the first byte.
    filled_ms: Option<u64>,
    /// The burst of resets, which depends on how many streams there may be.
    resets: u32,
    /// What all rates are multiplied by.
    scale: u32,
}

impl TokenBuckets {
    /// Full buckets for a peer that may have so many streams open at once, and may do `scale`
    /// times what is in the table.
    pub(super) fn new(streams: u32, scale: u32) -> Self {
        let resets = streams.min(100_000) * 2;
        let mut buckets = Self { tokens: [0; BUCKETS], filled_ms: None, resets, scale };
        for rate in &RATES {
            buckets.give(rate.bucket, u32::MAX / TOKEN);
        }
        buckets
    }

    fn most(&self, rate: &Rate) -> u32 {
        let burst = match rate.bucket {
            Bucket::Resets => rate.burst.max(self.resets),
            _ => rate.burst,
        };
        burst.saturating_mul(TOKEN).saturating_mul(self.scale)
    }

    /// Refills the buckets for the time that has passed. A clock that runs backwards adds nothing.
    pub(super) fn refill(&mut self, now_ms: u64) {
        let Some(filled_ms) = self.filled_ms else {
            self.filled_ms = Some(now_ms);
            return;
        };
        let passed = now_ms.saturating_sub(filled_ms);
        if passed < REFILL_MS {
            return;
        }
        self.filled_ms = Some(now_ms);
        let passed = u32::try_from(passed).unwrap_or(u32::MAX);
        for rate in &RATES {
            // A token per second is a thousandth of one per millisecond.
            self.add(rate, rate.per_second.saturating_mul(passed).saturating_mul(self.scale));
        }
    }

    fn add(&mut self, rate: &Rate, thousandths: u32) {
        let most = self.most(rate);
        if let Some(tokens) = self.tokens.get_mut(rate.bucket as usize) {
            *tokens = tokens.saturating_add(thousandths).min(most);
        }
    }

    /// Gives tokens back.
    pub(super) fn give(&mut self, bucket: Bucket, count: u32) {
        self.give_thousandths(bucket, count.saturating_mul(TOKEN));
    }

    /// Gives half a token back.
    pub(super) fn give_half(&mut self, bucket: Bucket) {
        self.give_thousandths(bucket, TOKEN / 2);
    }

    fn give_thousandths(&mut self, bucket: Bucket, thousandths: u32) {
        if let Some(rate) = RATES.get(bucket as usize) {
            self.add(rate, thousandths);
        }
    }

    /// Pays for something. False: there is not enough left.
    pub(super) fn pay(&mut self, bucket: Bucket, count: u32) -> bool {
        let Some(tokens) = self.tokens.get_mut(bucket as usize) else { return false };
        match tokens.checked_sub(count.saturating_mul(TOKEN)) {
            Some(left) => {
                *tokens = left;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Bucket, RATES, TokenBuckets};

    #[test]
    fn table_is_in_order() {
        for (index, rate) in RATES.iter().enumerate() {
            assert_eq!(rate.bucket as usize, index);
        }
    }

    #[test]
    fn burst_then_rate() {
        let mut buckets = TokenBuckets::new(100, 1);
        let mut paid = |now_ms| {
            buckets.refill(now_ms);
            (0..10_000).take_while(|_| buckets.pay(Bucket::Pings, 1)).count()
        };
        let counts = [0, 0, 99, 1_000, 500, 11_000, u64::MAX].map(&mut paid);
        assert_eq!(counts, [100, 0, 0, 10, 0, 100, 100]);
    }

    #[test]
    fn what_is_given_back_is_bounded() {
        let mut buckets = TokenBuckets::new(400, 1);
        buckets.give(Bucket::Resets, 1_000_000);
        assert!(buckets.pay(Bucket::Resets, 800));
        assert!(!buckets.pay(Bucket::Resets, 1));
        buckets.give_half(Bucket::Resets);
        buckets.give_half(Bucket::Resets);
        assert!(buckets.pay(Bucket::Resets, 1));
    }
}
