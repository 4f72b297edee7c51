//! What `explain` says and what the data plane does are the same, on random configurations and requests.
//!
//! Each configuration is one reload of a running proxy in front of an origin that answers with the head
//! that it got. Some thousand requests in all are played; `BOTHWAYS_AGREEMENT=100000` plays so many, and
//! `BOTHWAYS_AGREEMENT_SEED` begins with another one.

mod generate;
mod play;

use generate::{Configuration, Draw, request};
use play::{Bench, Client};

/// Requests that are sent before the next configuration.
const REQUESTS: u64 = 40;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn explain_says_what_is_done() {
    let requests = number("BOTHWAYS_AGREEMENT").unwrap_or(4000);
    let first = number("BOTHWAYS_AGREEMENT_SEED").unwrap_or(1);
    let bench = Bench::new();
    let mut played = play::Played::default();
    for seed in first..first + requests.div_ceil(REQUESTS) {
        let mut draw = Draw::new(seed);
        let configuration = Configuration::any(&mut draw, bench.origin(), seed, &bench.tls);
        bench.install(&configuration);
        let mut clients = [Client::new([127, 0, 0, 1]), Client::new([127, 0, 0, 3])];
        for index in 0..REQUESTS {
            let asked = request(&mut draw, bench.origin());
            let client = &mut clients[draw.below(2) as usize];
            let said = bench.said(&configuration, &asked, client.address);
            let done = bench.done(&asked, client);
            played.count(&said);
            assert!(
                play::agree(&said, &done),
                "seed {seed}, request {index}\n{}\n{asked:?} from {}\nexplain says: {said:?}\nthe proxy did: {done:?}",
                configuration.text,
                client.address,
            );
        }
    }
    eprintln!("{played:?}");
    // Every kind of outcome must have been among them, or nothing is shown.
    assert!(played.is_balanced(), "{played:?}");
}
