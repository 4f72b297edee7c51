//! The expectations that stand in examples of the documentation hold.

use std::fs;
use std::net::IpAddr;
use std::path::Path;

use rules::{Rules, check_expectations};

/// The ```kdl blocks of a page that expect something.
fn examples(page: &str) -> Vec<String> {
    let parts = page.split("```kdl\n").skip(1);
    let blocks = parts.filter_map(|part| part.split_once("```")).map(|(block, _)| block);
    blocks.filter(|block| block.contains("expect \"")).map(str::to_owned).collect()
}

#[test]
fn expectations_in_examples_hold() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let mut run = 0;
    for page in
        ["configuration.md", "reference.md", "from-caddy.md", "from-haproxy.md", "recipes.md"]
    {
        for example in examples(&fs::read_to_string(docs.join(page)).unwrap()) {
            let loaded = match config::parse(page, &example) {
                Ok(loaded) => loaded,
                Err(failure) => panic!("{}", failure.render(false)),
            };
            run += loaded.config.expects.len();
            let rules = Rules::compile(loaded.config);
            let failures = check_expectations(&rules, &|ip: IpAddr| {
                let own = ip.is_loopback();
                rules::Address { is_global: !own, is_own: own, ..rules::Address::global(ip) }
            });
            let messages: Vec<_> = failures.iter().map(|failure| &failure.message).collect();
            assert_eq!(messages, <[&String; 0]>::default(), "{page}: {example}");
            assert_eq!(rules.warnings(), [], "{page}: {example}");
        }
    }
    assert!(run >= 10, "{run} expectations in the documentation");
}
