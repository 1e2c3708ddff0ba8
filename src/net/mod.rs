//! Sockets, clocks, threads: everything that touches the operating system.
