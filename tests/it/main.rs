//! x
mod key_desk;
mod keys;
mod postgres;
