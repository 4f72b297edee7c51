//! Markdown, as far as the reference and the help use it, as roff.

/// Text without a meaning for roff.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\\' => out.push_str("\\e"),
            '-' => out.push_str("\\-"),
            '…' => out.push_str("..."),
            '’' => out.push('\''),
            '→' => out.push_str("\\->"),
            _ => out.push(character),
        }
    }
    out
}

/// A line of text: `code` and **bold** are bold, of links only the text stays.
pub(super) fn line(markdown: &str) -> String {
    let mut out = String::new();
    let mut rest = markdown;
    while let Some(at) = rest.find(['`', '*', '[', '\\']) {
        let (before, after) = rest.split_at(at);
        out.push_str(&escaped(before));
        let (shown, left) = span(after);
        out.push_str(&shown);
        rest = left;
    }
    out.push_str(&escaped(rest));
    // A control character at the start of a line would make it a request.
    if out.starts_with(['.', '\'']) { format!("\\&{out}") } else { out }
}

/// What begins here with a character of Markdown, and the rest.
fn span(text: &str) -> (String, &str) {
    let enclosed = |mark: &str| {
        let inner = text.strip_prefix(mark)?;
        inner.split_once(mark).filter(|(inner, _)| !inner.is_empty())
    };
    if let Some((code, rest)) = enclosed("``").or_else(|| enclosed("`")) {
        return (format!("\\fB{}\\fR", escaped(code.trim())), rest);
    }
    if let Some((strong, rest)) = enclosed("**") {
        return (format!("\\fB{}\\fR", escaped(strong)), rest);
    }
    if let Some((label, rest)) = text.strip_prefix('[').and_then(|text| text.split_once("]("))
        && !label.contains('[')
        && let Some((_, rest)) = rest.split_once(')')
    {
        return (line(label), rest);
    }
    // An escaped character, or one that stands for itself.
    let mut characters = text.chars();
    let first = characters.next().unwrap_or_default();
    let second = characters.clone().next();
    if first == '\\'
        && let Some(second) = second.filter(|one| one.is_ascii_punctuation())
    {
        characters.next();
        return (escaped(&second.to_string()), characters.as_str());
    }
    (escaped(&first.to_string()), characters.as_str())
}

/// The sections after the options: examples stay as they are, line by line.
pub(super) fn notes(help: &str) -> String {
    if help.is_empty() {
        return String::new();
    }
    let mut out = String::new();
    let mut open = false;
    for text in help.lines() {
        match text.strip_suffix(':').filter(|title| !title.is_empty() && !title.starts_with(' ')) {
            Some(title) if !title.contains(", ") && title.len() < 20 => {
                out.push_str(if open { ".fi\n" } else { "" });
                out.push_str(&format!(".SH \"{}\"\n.nf\n", escaped(title).to_uppercase()));
                open = true;
            }
            _ => {
                if !open {
                    out.push_str(".SH NOTES\n.nf\n");
                    open = true;
                }
                let shown = escaped(text);
                out.push_str(if shown.starts_with(['.', '\'']) { "\\&" } else { "" });
                out.push_str(&shown);
                out.push('\n');
            }
        }
    }
    out.push_str(if open { ".fi\n" } else { "" });
    out
}

/// A page of Markdown. Its title and its table of contents are left out.
pub(super) fn of_markdown(markdown: &str) -> String {
    let mut out = ".SH DESCRIPTION\n".to_owned();
    let mut lines = markdown.lines().peekable();
    let (mut in_comment, mut in_code) = (false, false);
    while let Some(text) = lines.next() {
        if in_comment || text.starts_with("<!--") {
            in_comment = !text.contains("-->");
        } else if text.starts_with("```") {
            in_code = !in_code;
            out.push_str(if in_code { ".PP\n.RS 4\n.nf\n" } else { ".fi\n.RE\n" });
        } else if in_code {
            let shown = escaped(text);
            out.push_str(if shown.starts_with(['.', '\'']) { "\\&" } else { "" });
            out.push_str(&shown);
            out.push('\n');
        } else if let Some(title) = text.strip_prefix("### ") {
            out.push_str(&format!(".SS \"{}\"\n", line(title).replace('"', "\\(dq")));
        } else if let Some(title) = text.strip_prefix("## ") {
            out.push_str(&format!(
                ".SH \"{}\"\n",
                line(title).replace('"', "\\(dq").to_uppercase()
            ));
        } else if text.starts_with("# ") || text.starts_with("- [") {
            // The title, the contents.
        } else if let Some(row) = text.strip_prefix("| ") {
            // The head of a table says less than its rows.
            let next_is_rule = lines
                .peek()
                .is_some_and(|next| next.starts_with("|--") || next.starts_with("| --"));
            if !next_is_rule {
                out.push_str(&table_row(row));
            }
        } else if text.starts_with("|-") {
            // Below the head.
        } else if let Some(item) = text.strip_prefix("- ") {
            out.push_str(&format!(".IP \\(bu 2\n{}\n", line(item)));
        } else if text.is_empty() {
            out.push_str(".PP\n");
        } else {
            out.push_str(&line(text));
            out.push('\n');
        }
    }
    out
}

/// The first cell is what it is about, the others say it.
fn table_row(row: &str) -> String {
    let row = row.trim_end().trim_end_matches('|');
    let mut cells = Vec::new();
    let (mut cell, mut is_escaped) = (String::new(), false);
    for character in row.chars() {
        match character {
            '|' if !is_escaped => cells.push(std::mem::take(&mut cell)),
            '|' => {
                cell.pop();
                cell.push('|');
            }
            _ => cell.push(character),
        }
        is_escaped = character == '\\';
    }
    cells.push(cell);
    let mut cells = cells.iter().map(|cell| line(cell.trim()));
    let title = cells.next().unwrap_or_default();
    let rest: Vec<_> = cells.filter(|cell| !cell.is_empty()).collect();
    format!(".TP\n{title}\n{}\n", rest.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        for (markdown, expected) in [
            ("plain-text", "plain\\-text"),
            ("`code` and **bold**", "\\fBcode\\fR and \\fBbold\\fR"),
            ("see [the page](a.md#b), or", "see the page, or"),
            ("[`x`](a.md)", "\\fBx\\fR"),
            ("a [b] * c", "a [b] * c"),
            (".PP", "\\&.PP"),
            ("`a\\b`", "\\fBa\\eb\\fR"),
            ("an \\* and `", "an * and `"),
            ("`<…>` …", "\\fB<...>\\fR ..."),
        ] {
            assert_eq!(line(markdown), expected, "{markdown}");
        }
    }

    #[test]
    fn pages() {
        let page = "# Title\n\n<!-- made\n  by -->\n- [Values](#values)\n\n## Values\n\n| a | b |\n|---|---|\n| `x` | y, \\| z |\n\n### `t <a> \"b\"`\n\n```kdl\n.a \"b\"\n```\n";
        let roff = of_markdown(page);
        for part in [
            ".SH \"VALUES\"\n",
            ".TP\n\\fBx\\fR\ny, | z\n",
            ".SS \"\\fBt <a> \\(dqb\\(dq\\fR\"\n",
            ".nf\n\\&.a \"b\"\n.fi\n",
        ] {
            assert!(roff.contains(part), "{part}\n{roff}");
        }
        assert!(!roff.contains("made") && !roff.contains("Title") && !roff.contains("| a"));
    }

    #[test]
    fn help_keeps_its_lines() {
        let roff = notes(
            "Examples:\n  bothways run\n\nSignals:\n  SIGHUP   reload\n\nThe end, so: it is.",
        );
        assert!(roff.starts_with(".SH \"EXAMPLES\"\n.nf\n  bothways run\n"), "{roff}");
        assert!(roff.contains(".SH \"SIGNALS\"\n.nf\n  SIGHUP   reload\n"), "{roff}");
    }
}
