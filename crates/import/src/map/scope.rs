//! What holds at a place of nginx's configuration: the blocks around it, and what they pass on.

use crate::nginx::Directive;

/// The blocks around a place, from the outside: `http`, `server`, `location`s.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scope<'t> {
    levels: Vec<&'t [Directive]>,
}

impl<'t> Scope<'t> {
    pub(crate) fn new(level: &'t [Directive]) -> Self {
        Self { levels: vec![level] }
    }

    /// One block further in.
    pub(crate) fn within(&self, level: &'t [Directive]) -> Self {
        let mut levels = self.levels.clone();
        levels.push(level);
        Self { levels }
    }

    /// The setting that holds here: that of the innermost block which has one.
    pub(crate) fn find(&self, name: &str) -> Option<&'t Directive> {
        self.levels.iter().rev().find_map(|level| level.iter().rev().find(|one| one.name == name))
    }

    /// The lines of a setting that takes several: those of the innermost block which has any.
    pub(crate) fn all(&self, name: &str) -> Vec<&'t Directive> {
        self.all_of(&[name])
    }

    /// The same for settings that replace each other as one, such as `allow` and `deny`.
    pub(crate) fn all_of(&self, names: &[&str]) -> Vec<&'t Directive> {
        let of = |level: &&'t [Directive]| -> Vec<&'t Directive> {
            level.iter().filter(|one| names.contains(&one.name.as_str())).collect()
        };
        self.levels.iter().rev().map(of).find(|found| !found.is_empty()).unwrap_or_default()
    }

    /// Every line of a name, from the innermost block outwards.
    pub(crate) fn every(&self, name: &str) -> impl Iterator<Item = &'t Directive> {
        self.levels
            .iter()
            .rev()
            .flat_map(|level| level.iter().rev())
            .filter(move |one| one.name == name)
    }

    /// What stands in the innermost block itself.
    pub(crate) fn own(&self) -> &'t [Directive] {
        self.levels.last().copied().unwrap_or_default()
    }

    /// The value of a flag: `on`, `off`, or what nginx assumes.
    pub(crate) fn is_on(&self, name: &str, default: bool) -> bool {
        self.find(name).map_or(default, |one| one.word(0) == "on")
    }
}

impl Scope<'_> {
    /// True if this block is one of those around the place.
    pub(crate) fn holds(&self, block: &[Directive]) -> bool {
        self.levels.iter().any(|level| std::ptr::eq(*level, block))
    }
}
