//! Draws docs/adaptive.svg: a server whose capacity changes, with adaptive concurrency and without.
//! `cargo run --release -p balance --example adaptive_plot > docs/adaptive.svg`

#[path = "../tests/simulation/mod.rs"]
mod simulation;

use std::fmt::Write;

use simulation::{Phase, SLICE, Slice, run, upstream};

const END: f64 = 90.0;
const WIDTH: f64 = 860.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 16.0;
const PANEL: f64 = 150.0;
const GAP: f64 = 56.0;
const WITH: &str = "#1f6feb";
const WITHOUT: &str = "#cf6a2a";
const TRUE: &str = "#8a8f98";

/// 40 workers, 20 ms each: 2000 requests a second.
const PHASES: [Phase; 4] = [
    Phase { from: 0.0, workers: 40, service: 0.020, rate: 1500.0 },
    Phase { from: 15.0, workers: 40, service: 0.020, rate: 3000.0 },
    Phase { from: 45.0, workers: 20, service: 0.020, rate: 3000.0 },
    Phase { from: 70.0, workers: 40, service: 0.020, rate: 1500.0 },
];

struct Panel<'a> {
    title: &'a str,
    max: f64,
    marks: &'a [f64],
    /// Colour, strength and values.
    lines: &'a [(&'a str, f64, Vec<f64>)],
}

fn main() {
    let with = run(&upstream(Some((4, 1000))), &PHASES, END, 2);
    let without = run(&upstream(None), &PHASES, END, 2);
    let of = |slices: &[Slice], value: fn(&Slice) -> f64| slices.iter().map(value).collect();
    let millis = |s: &Slice| s.latency * 1000.0;
    let per_second = |s: &Slice| f64::from(s.answered) / SLICE;
    let true_of = |value: fn(&Phase) -> f64| -> Vec<f64> {
        let at = |s: &Slice| PHASES.iter().rfind(|p| p.from < s.at).map_or(0.0, value);
        with.iter().map(at).collect()
    };
    let panels = [
        Panel {
            title: "requests at once: the limit, and the workers of the server",
            max: 120.0,
            marks: &[0.0, 20.0, 40.0, 60.0, 80.0, 100.0, 120.0],
            lines: &[
                (TRUE, 1.5, true_of(|phase| phase.workers as f64)),
                (WITH, 1.5, of(&with, |s| s.limit)),
            ],
        },
        Panel {
            title: "latency (median of 100 ms), milliseconds, on a logarithmic scale",
            max: 100_000.0_f64.log10() - 1.0,
            marks: &[0.0, 1.0, 2.0, 3.0, 4.0],
            lines: &[
                (WITHOUT, 1.5, log(of(&without, millis))),
                (WITH, 1.5, log(of(&with, millis))),
            ],
        },
        Panel {
            title: "answers a second, and what the server can do",
            max: 3000.0,
            marks: &[0.0, 1000.0, 2000.0, 3000.0],
            lines: &[
                (TRUE, 1.5, true_of(|phase| phase.workers as f64 / phase.service)),
                (WITHOUT, 1.0, of(&without, per_second)),
                (WITH, 1.0, of(&with, per_second)),
            ],
        },
    ];
    println!("{}", draw(&panels));
}

/// Decades above 10 ms.
fn log(values: Vec<f64>) -> Vec<f64> {
    values.into_iter().map(|value| (value.max(10.0) / 10.0).log10()).collect()
}

fn draw(panels: &[Panel<'_>]) -> String {
    let height = panels.len() as f64 * (PANEL + GAP) + 64.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"system-ui, sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
    );
    for (column, (colour, text)) in
        [(WITH, "with adaptive concurrency"), (WITHOUT, "without"), (TRUE, "the server")]
            .into_iter()
            .enumerate()
    {
        let x = LEFT + column as f64 * 210.0;
        let _ = writeln!(
            svg,
            "<rect x=\"{x}\" y=\"12\" width=\"18\" height=\"4\" fill=\"{colour}\"/>\
             <text x=\"{}\" y=\"18\">{text}</text>",
            x + 24.0
        );
    }
    for (row, panel) in panels.iter().enumerate() {
        let top = 52.0 + row as f64 * (PANEL + GAP);
        panel_into(&mut svg, panel, top);
    }
    svg.push_str("</svg>");
    svg
}

fn panel_into(svg: &mut String, panel: &Panel<'_>, top: f64) {
    let x_of = |seconds: f64| LEFT + seconds / END * (WIDTH - LEFT - RIGHT);
    let y_of = |value: f64| top + PANEL * (1.0 - (value / panel.max).clamp(0.0, 1.0));
    let _ = writeln!(
        svg,
        "<text x=\"{LEFT}\" y=\"{}\" font-weight=\"600\">{}</text>",
        top - 8.0,
        panel.title
    );
    for &mark in panel.marks {
        let logarithmic = panel.title.contains("logarithmic");
        let text = if logarithmic { 10.0 * 10.0_f64.powf(mark) } else { mark };
        let _ = writeln!(
            svg,
            "<line x1=\"{LEFT}\" x2=\"{}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#e3e5e8\"/>\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#555\">{text}</text>",
            WIDTH - RIGHT,
            LEFT - 6.0,
            y_of(mark) + 4.0,
            y = y_of(mark),
        );
    }
    for second in (0..=END as u32).step_by(15) {
        let x = x_of(f64::from(second));
        let _ = writeln!(
            svg,
            "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#555\">{second} s</text>",
            top + PANEL + 16.0
        );
    }
    for (colour, strength, values) in panel.lines {
        let mut points = String::new();
        for (index, value) in values.iter().enumerate() {
            let x = x_of((index + 1) as f64 * SLICE);
            let _ = write!(points, "{x:.1},{:.1} ", y_of(*value));
        }
        let _ = writeln!(
            svg,
            "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"{strength}\" points=\"{}\"/>",
            points.trim_end()
        );
    }
}
