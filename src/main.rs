//! The `duragent` command.

fn main() {}
