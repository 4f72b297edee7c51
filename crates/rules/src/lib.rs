//! Who may do what: matchers and routes compiled to a decision with provenance.
