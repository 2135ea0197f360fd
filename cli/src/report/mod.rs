//! The report of a search: one offline HTML file. [`data`] is what it shows, [`charts`] draws, [`page`] writes.

pub mod charts;
pub mod data;
pub mod page;

pub use data::Report;
pub use page::render;
