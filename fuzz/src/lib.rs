//! The properties, as the tests have them.

#[path = "../../tests/it/hostile/properties/mod.rs"]
pub mod properties;
