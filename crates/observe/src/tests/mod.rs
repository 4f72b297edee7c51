//! Stories and properties of the whole module. Tables of a part are in that part.

mod docs;
mod fixture;
mod gate;
mod lines;
mod metrics;
mod reuse;
mod scrape;
mod writing;
