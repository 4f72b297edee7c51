//! Why a decision came about: what was tried, in order, with its place in the file.
//!
//! A decision is made once, by code that is generic over [`Trace`]. The data plane passes `()`,
//! which costs nothing; `explain` passes [`Steps`] and reads off it what happened.

use config::Place;

/// Takes note of what a decision tries.
pub trait Trace {
    /// Whether anything is kept. Work that only a trace needs is left out where this is false.
    const ON: bool;

    /// Notes one step.
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

/// Something that was tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The line that says it.
    pub place: Place,
    /// What it is, as written: `route "/api/*"`, `deny to="*.example.com"`.
    pub text: String,
    /// What came of it.
    pub outcome: StepOutcome,
}

/// What came of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepOutcome {
    /// It decided.
    Decided,
    /// It would do, but another one is more specific; which one, for people.
    LessSpecific(String),
    /// It does not match; why, for people.
    Differs(String),
    /// It cannot be told yet; what is needed.
    Open(String),
}
