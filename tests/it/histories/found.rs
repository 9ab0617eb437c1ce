//! Histories that broke something once, shrunk: each is the test of its bug.
