//! Looks for the system's ENet, and sets `cfg(enet)` where it is there.

use std::process::Command;

/// The first version whose structs are laid out as `src/peer/enet.rs` has them.
const LEAST: &str = "1.3.13";

fn main() {
    println!("cargo:rustc-check-cfg=cfg(enet)");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=PKG_CONFIG_PATH");
    let found = Command::new("pkg-config")
        .args(["--libs", &format!("libenet >= {LEAST}")])
        .output()
        .ok()
        .filter(|output| output.status.success());
    let Some(output) = found else { return };
    println!("cargo:rustc-cfg=enet");
    for word in String::from_utf8_lossy(&output.stdout).split_whitespace() {
        if let Some(folder) = word.strip_prefix("-L") {
            println!("cargo:rustc-link-search=native={folder}");
        } else if let Some(library) = word.strip_prefix("-l") {
            println!("cargo:rustc-link-lib={library}");
        }
    }
    // A library that is installed after this build is found by the next one.
    println!("cargo:rerun-if-changed=/usr/include/enet/enet.h");
}
