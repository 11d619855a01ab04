//! Roof: what the commands of the binary do. Parsing the command line's shape lives beside each deed.

pub mod identity;
pub mod sign;
