//! x

mod limits;
mod logs;
