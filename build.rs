//! Link arguments of the shared library.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        // The ABI's number: it changes when a caller that was linked before would break.
        println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libgamekeeper.so.0");
        // A server's thread may be inside our code when a host unloads the module that brought us in.
        println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
    }
}
