//! The fold, by cases.
