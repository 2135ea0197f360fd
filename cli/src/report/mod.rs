//! The report of a search: one offline HTML file. [`data`] is what it shows, [`charts`] draws, [`page`] writes.

pub mod charts;
pub mod data;
pub mod from_run;
pub mod page;

pub use data::Report;
pub use from_run::from_run;
pub use page::render;
