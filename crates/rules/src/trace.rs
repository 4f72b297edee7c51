//! The steps of a decision: what was tried, in order, with its place in the file.
//!
//! The code of a decision is generic over [`Trace`]. The data plane passes `()`, which costs nothing; `explain` passes
//! [`Steps`] and shows them.

use config::Place;

/// Records what a decision tries.
pub trait Trace {
    /// Whether anything is kept. Work that only a trace needs is left out where this is false.
    const ON: bool;

    /// Records one step.
    fn step(&mut self, step: Step);
}

/// Keeps nothing.
impl Trace for () {
    const ON: bool = false;

    fn step(&mut self, _: Step) {}
}

/// Keeps every step.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Steps(pub Vec<Step>);

impl Trace for Steps {
    const ON: bool = true;

    fn step(&mut self, step: Step) {
        self.0.push(step);
    }
}

/// One thing that was tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The line that says it.
    pub place: Place,
    /// What it is, as written: `route "/api/*"`, `deny to="*.example.com"`.
    pub text: String,
    /// The outcome.
    pub outcome: StepOutcome,
}

/// The outcome of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepOutcome {
    /// It decided.
    Decided,
    /// It matches, but another one is more specific; which one, in words.
    LessSpecific(String),
    /// It does not match; why, in words.
    Differs(String),
    /// It is not certain yet; what is needed, in words.
    Open(String),
}
