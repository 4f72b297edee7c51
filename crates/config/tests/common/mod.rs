//! Comparing configurations.

use config::Config;

/// The model without places and without how rules were written, which depend on the layout.
pub(crate) fn plain(config: &Config) -> String {
    let text = format!("{config:#?}");
    let mut out = String::new();
    let mut skipping = false;
    let written = |line: &&str| {
        let line = line.trim_start();
        !line.starts_with("written: \"deny") && !line.starts_with("written: \"allow")
    };
    for line in text.lines().filter(written) {
        match line.trim_end().ends_with("Place {") {
            true => skipping = true,
            false if skipping => skipping = !line.trim_start().starts_with('}'),
            false => {
                out.push_str(line);
                out.push('\n');
            }
        }
    }
    out
}

#[track_caller]
pub(crate) fn same(left: &Config, right: &Config) {
    let (left, right) = (plain(left), plain(right));
    let differing = left.lines().zip(right.lines()).find(|(left, right)| left != right);
    assert_eq!(differing, None);
    assert_eq!(left.len(), right.len());
}
