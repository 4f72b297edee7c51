//! Scripted peers, fixtures and corpora for the tests of Bothways.
