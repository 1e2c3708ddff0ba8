//! Link arguments of the extension's library.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        // A thread of a server or a client may still be inside our code when the engine lets the library go.
        println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
    }
}
