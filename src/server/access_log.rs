//! One line per connect, refusal and disconnect.
