//! Builds the parts, starts the threads, stops them in order.
