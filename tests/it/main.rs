//! x

mod demo;
mod limits;
mod logs;
