//! HTTP doors as clients meet them: bytes over sockets, well-formed and not. Real clients are in `bindings/python/tests/test_http.py`.

#[path = "http/alone.rs"]
mod alone;
#[path = "http/frames.rs"]
mod frames;
#[path = "http/hostile.rs"]
mod hostile;
#[path = "http/serving.rs"]
mod serving;
#[path = "http/world.rs"]
mod world;
