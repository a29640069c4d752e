//! x

mod limits;
