//! Endpoints as JSON. What must hold is in `testkit::fuzzing::endpoints_json`.

use proptest::prelude::*;
use testkit::fuzzing::endpoints_json;

fn field() -> impl Strategy<Value = String> {
    let number = || prop_oneof![3 => 1..1000u32, 1 => Just(0), 1 => any::<u32>()];
    prop_oneof![
        number().prop_map(|n| format!(r#""weight": {n}"#)),
        number().prop_map(|n| format!(r#""max": {n}"#)),
        number().prop_map(|n| format!(r#""priority": {n}"#)),
        prop::sample::select(vec![
            r#""max":null"#,
            r#""zone":null"#,
            r#""zone": "eu/1""#,
            r#""backup":true"#,
            r#""drain": false"#,
            r#""addresses":"each""#,
            r#""addresses":"one""#,
            r#""\u0077eight":5"#,
            r#""else":1"#,
            "\n",
        ])
        .prop_map(str::to_owned),
    ]
}

fn endpoint() -> impl Strategy<Value = String> {
    let address = prop_oneof![
        (0..3u8, 1..3u16).prop_map(|(ip, port)| format!("10.0.0.{ip}:{port}")),
        "[a-cA-C]{1,2}:[1-9]".prop_map(|name| name),
        prop::sample::select(vec!["https://a:1", "[::1]:80", "unix:/run/a", "\\u0061:1", "a", ""])
            .prop_map(str::to_owned),
    ];
    (address, prop::collection::vec(field(), 0..4)).prop_map(|(address, fields)| {
        let fields: Vec<_> =
            [format!(r#""address":"{address}""#)].into_iter().chain(fields).collect();
        format!("{{{}}}", fields.join(", "))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 1_000 } else { 50_000 }))]

    #[test]
    fn lists_of_endpoints(
        endpoints in prop::collection::vec(endpoint(), 0..5),
        whole in any::<bool>(),
        cut in any::<Option<prop::sample::Index>>(),
    ) {
        let list = format!("[\n {}]\n", endpoints.join(",\n "));
        let mut text = if whole { format!("{{\"endpoints\": {list}}}") } else { list };
        if let Some(cut) = cut {
            text.truncate(cut.index(text.len()));
        }
        endpoints_json::check(text.as_bytes());
        endpoints.iter().for_each(|endpoint| endpoints_json::check(endpoint.as_bytes()));
    }
}
