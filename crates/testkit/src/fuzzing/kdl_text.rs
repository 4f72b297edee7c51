//! Texts of the configuration, all the way: to a model, to what `show` prints, and back.

use config::{Config, Effective};

/// A text: places of mistakes are within it; what is accepted has the same meaning in canonical layout,
/// and as what is shown of it, which is shown as the same again.
pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if text.contains("/dev/") {
        // An error page from a terminal would wait for somebody to type it.
        return;
    }
    let formatted = config::format("x.kdl", text);
    if let Ok(formatted) = &formatted {
        let again = config::format("x.kdl", formatted);
        assert_eq!(again.as_deref().ok(), Some(formatted.as_str()), "{text}");
    }
    match config::parse("x.kdl", text) {
        Ok(loaded) => {
            let expected = meaning(&loaded.config);
            let formatted = formatted.unwrap_or_else(|failure| panic!("{failure}\nof {text}"));
            assert_eq!(meaning(&read(&formatted).config), expected, "{formatted}");
            let effective = loaded.effective.revealed();
            let shown = effective.render(false);
            let again = read(&shown);
            assert_eq!(meaning(&again.config), expected, "{shown}");
            let (first, second) = (values(&effective), values(&again.effective.revealed()));
            let differing = first.iter().zip(&second).find(|(first, second)| first != second);
            assert_eq!(differing, None, "{shown}");
            assert_eq!(first.len(), second.len(), "{shown}");
        }
        Err(failure) => {
            assert!(!failure.errors.is_empty(), "{text}");
            for problem in failure.errors.iter().chain(&failure.warnings) {
                let lines = text.split('\n').count() as u32;
                let is_whole = problem.place.line == 0 && problem.place.column == 0;
                let is_within = problem.place.line <= lines && problem.place.column > 0;
                assert!(is_whole || is_within, "{problem:?}");
                assert!(!problem.render(true).is_empty(), "{problem:?}");
            }
        }
    }
}

fn read(text: &str) -> config::Loaded {
    config::parse("x.kdl", text).unwrap_or_else(|failure| panic!("{failure}\nin\n{text}"))
}

/// The model without places and without how rules are written, which depend on the layout.
fn meaning(config: &Config) -> String {
    let mut config = config.clone();
    let rules = config.forwards.iter_mut().flat_map(|forward| &mut forward.rules);
    rules.for_each(|rule| rule.written = Box::default());
    let text = format!("{config:?}");
    let mut parts = text.split("Place {");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.split_once('}').map_or("", |(_, rest)| rest))
}

fn values(effective: &Effective) -> Vec<(Vec<String>, String)> {
    effective.values().map(|value| (value.path, value.value)).collect()
}
