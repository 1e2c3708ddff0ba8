//! Tests of this floor as a whole.
