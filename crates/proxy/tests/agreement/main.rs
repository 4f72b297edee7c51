//! What `explain` says and what the data plane does are the same, on random configurations and requests.
//!
//! Each configuration is one reload of a running proxy in front of an origin that answers with the head
//! that it got. What can be said in HTTP/2 is sent in both protocols. Some thousand requests in all are played; `BOTHWAYS_AGREEMENT=100000` plays so many, and
//! `BOTHWAYS_AGREEMENT_SEED` begins with another one.

mod generate;
mod http2;
mod play;

use generate::{Configuration, Draw, request};
use http2::Framed;
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
    let mut over_http2 = 0;
    for seed in first..first + requests.div_ceil(REQUESTS) {
        let mut draw = Draw::new(seed);
        let configuration = Configuration::any(&mut draw, bench.origin(), seed, &bench.tls);
        bench.install(&configuration);
        let mut clients = [Client::new([127, 0, 0, 1]), Client::new([127, 0, 0, 3])];
        let mut framing = clients.each_ref().map(|client| http2::Client::new(client.address));
        for index in 0..REQUESTS {
            let asked = request(&mut draw, bench.origin());
            let which = draw.below(2) as usize;
            let client = &mut clients[which];
            let said = bench.said(&configuration, &asked, client.address);
            let done = bench.done(&asked, client);
            played.count(&said);
            assert!(
                play::agree(&said, &done),
                "seed {seed}, request {index}\n{}\n{asked:?} from {}\nexplain says: {said:?}\nthe proxy did: {done:?}",
                configuration.text,
                client.address,
            );
            let Some(framed) = Framed::of(&asked) else { continue };
            let said = bench.said(&configuration, &framed.asked, client.address);
            let done = bench.done_over_http2(&framed, &mut framing[which]);
            over_http2 += 1;
            assert!(
                play::agree(&said, &done),
                "HTTP/2, seed {seed}, request {index}\n{}\n{:?} from {}\nexplain says: {said:?}\nthe proxy did: {done:?}",
                configuration.text,
                framed.asked,
                client.address,
            );
        }
    }
    eprintln!("{played:?}, {over_http2} over HTTP/2 too");
    // Every kind of outcome must have been among them, or nothing is shown.
    assert!(played.is_balanced() && over_http2 * 10 > requests, "{played:?}, {over_http2}");
}
