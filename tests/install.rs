//! The installation for C and C++: `install.sh`, and projects outside this tree that find what it installed by CMake and by
//! pkg-config, build with it and run, also after everything was moved.

#![cfg(target_os = "linux")]

mod c_support;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use c_support::{root, shared_library, temporary};

/// Runs a command that must succeed; gives its standard output.
fn run(command: &mut Command) -> String {
    let output = output(command);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed:\n{text}\n{errors}");
    text
}

fn output(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|e| panic!("{command:?} does not run: {e}"))
}

/// The script, with the libraries that this test was built with.
fn script(arguments: &[&str]) -> Command {
    let built = shared_library();
    let mut command = Command::new(root().join("install.sh"));
    command.arg("--from").arg(built.parent().expect("a file has a directory")).args(arguments);
    command.env_remove("DESTDIR");
    command
}

/// An installation under a directory of its own.
fn installed(name: &str, arguments: &[&str]) -> PathBuf {
    let prefix = temporary(name);
    let option = format!("--prefix={}", prefix.display());
    run(script(&[&option]).args(arguments));
    prefix
}

/// The outside project, copied to where nothing of this tree is near.
fn project(name: &str) -> PathBuf {
    let folder = temporary(name);
    std::fs::create_dir_all(&folder).unwrap();
    for file in ["CMakeLists.txt", "host.c", "host.cpp"] {
        std::fs::copy(root().join("tests/install").join(file), folder.join(file)).unwrap();
    }
    folder
}

fn cmake_build(project: &Path, build: &Path, prefix: &Path) {
    let mut configure = Command::new("cmake");
    configure.arg("-S").arg(project).arg("-B").arg(build);
    run(configure.arg(format!("-DCMAKE_PREFIX_PATH={}", prefix.display())));
    run(Command::new("cmake").arg("--build").arg(build));
}

fn hosts(program: &Path, library: Option<&Path>) {
    let elsewhere = temporary("elsewhere");
    std::fs::create_dir_all(&elsewhere).unwrap();
    let mut command = Command::new(program);
    command.current_dir(elsewhere).env_remove("LD_LIBRARY_PATH");
    if let Some(library) = library {
        command.env("LD_LIBRARY_PATH", library);
    }
    assert_eq!(run(&mut command), format!("hosted by {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn cmake_finds_the_library_and_builds_and_runs_with_it_also_after_a_move() {
    // Where Debian has libraries; other systems' compilers name no such directory.
    let machine = run(Command::new("cc").arg("-print-multiarch"));
    let libdir = Path::new("lib").join(machine.trim());
    let option = format!("--libdir={}", libdir.display());
    let (prefix, project, build) = (installed("here", &[&option]), project("cmake"), temporary("build"));
    cmake_build(&project, &build, &prefix);
    for name in ["shared_c", "static_c", "shared_cpp"] {
        hosts(&build.join(name), None);
    }

    let moved = temporary("moved");
    std::fs::rename(&prefix, &moved).unwrap();
    // What was built before needs only the library, wherever it is, and the static one not even that.
    hosts(&build.join("shared_c"), Some(&moved.join(&libdir)));
    hosts(&build.join("static_c"), None);
    let anew = temporary("build");
    cmake_build(&project, &anew, &moved);
    for name in ["shared_c", "static_c", "shared_cpp"] {
        hosts(&anew.join(name), None);
    }
    let files = run(Command::new("readelf").arg("-d").arg(anew.join("shared_c")));
    assert!(files.contains("[libgamekeeper.so.0]"), "{files}");
}

#[test]
fn pkg_config_finds_the_library_and_the_compiler_builds_with_it_also_after_a_move() {
    let (prefix, project) = (installed("here", &[]), project("pkg-config"));
    let moved = temporary("moved");
    let flags = |prefix: &Path, wanted: &[&str]| {
        let mut command = Command::new("pkg-config");
        command.env("PKG_CONFIG_PATH", prefix.join("lib/pkgconfig")).args(wanted).arg("gamekeeper");
        run(&mut command).split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    let builds = |prefix: &Path| {
        for (compiler, source) in [("cc", "host.c"), ("c++", "host.cpp")] {
            let program = temporary("program");
            let mut command = Command::new(compiler);
            command.arg(project.join(source)).arg("-o").arg(&program);
            run(command.args(flags(prefix, &["--cflags", "--libs"])));
            hosts(&program, Some(&prefix.join("lib")));
        }
        let program = temporary("static");
        let mut command = Command::new("cc");
        command.arg(project.join("host.c")).args(flags(prefix, &["--cflags"]));
        // The file itself, since a linker that has the choice takes the shared one.
        command.arg("-o").arg(&program).arg(prefix.join("lib/libgamekeeper.a"));
        let behind = flags(prefix, &["--static", "--libs"]);
        run(command.args(behind.iter().filter(|flag| !flag.ends_with("gamekeeper"))));
        hosts(&program, None);
    };
    assert_eq!(flags(&prefix, &["--modversion"]), [env!("CARGO_PKG_VERSION")]);
    builds(&prefix);
    std::fs::rename(&prefix, &moved).unwrap();
    builds(&moved);
}

#[test]
fn a_staged_installation_knows_neither_the_stage_nor_this_tree() {
    let stage = temporary("stage");
    run(script(&["--prefix", "/opt/games", "--libdir", "/opt/games/lib64"]).env("DESTDIR", &stage));
    let top = stage.join("opt/games");
    let version = env!("CARGO_PKG_VERSION");
    let link = |name: &str| std::fs::read_link(top.join("lib64").join(name)).unwrap();
    assert_eq!(link("libgamekeeper.so"), Path::new("libgamekeeper.so.0"));
    assert_eq!(link("libgamekeeper.so.0"), Path::new(&format!("libgamekeeper.so.{version}")));
    assert!(top.join("lib64/libgamekeeper.a").is_file() && top.join("include/gamekeeper.hpp").is_file());
    let texts = ["pkgconfig/gamekeeper.pc", "cmake/gamekeeper/gamekeeperConfig.cmake"];
    for name in texts.into_iter().chain(["cmake/gamekeeper/gamekeeperConfigVersion.cmake"]) {
        let text = std::fs::read_to_string(top.join("lib64").join(name)).unwrap();
        for path in [stage.to_str().unwrap(), root().to_str().unwrap(), "/opt/games"] {
            assert!(!text.contains(path), "{name} names {path}:\n{text}");
        }
        let left = text.split('@').nth(1).filter(|word| word.chars().all(|c| c.is_ascii_uppercase()));
        assert_eq!(left, None, "{name} has a place that was not filled");
    }
}

/// What shells, sed and linkers take for something else is a character of a path like any other.
#[test]
fn paths_may_have_characters_that_tools_have_uses_for() {
    // Without a comma, which ends a path in CMake's own arguments for the linker.
    let (prefix, build) = (installed("o & k's", &["--includedir=in&c=1"]), temporary("bui & ld"));
    cmake_build(&project("cmake"), &build, &prefix);
    for name in ["shared_c", "static_c", "shared_cpp"] {
        hosts(&build.join(name), None);
    }

    let prefix = installed("a, b & c", &["--libdir=li,b&x", "--includedir=in,c&"]);
    let program = temporary("program");
    let mut compile = Command::new("sh");
    // As the shell reads what pkg-config has escaped for it.
    let line = "eval \"$CC\" '\"$1\"' -o '\"$2\"' $(pkg-config --cflags --libs gamekeeper)";
    compile.args(["-euc", line, "sh"]).arg(project("pkg-config").join("host.c")).arg(&program);
    run(compile.env("CC", "cc").env("PKG_CONFIG_PATH", prefix.join("li,b&x/pkgconfig")));
    hosts(&program, Some(&prefix.join("li,b&x")));

    let stage = temporary("st, a & ge's");
    run(script(&["--prefix", "/opt/r, b & d's", "--libdir=li,b&"]).env("DESTDIR", &stage));
    let lib = stage.join("opt/r, b & d's/li,b&");
    assert!(lib.join("libgamekeeper.so").is_file(), "nothing is in {}", lib.display());
    let text = std::fs::read_to_string(lib.join("pkgconfig/gamekeeper.pc")).unwrap();
    assert!(text.lines().any(|line| line == "libdir=${prefix}/li,b&"), "{text}");
    let text = std::fs::read_to_string(lib.join("cmake/gamekeeper/gamekeeperConfig.cmake")).unwrap();
    assert!(text.contains("${_gamekeeper_prefix}/li,b&/libgamekeeper.so.0\""), "{text}");
    assert!(!text.contains("r, b"), "{text}");
}

#[test]
fn cmake_takes_the_versions_that_do_and_ranges_of_them() {
    let folder = temporary("versions");
    std::fs::create_dir_all(&folder).unwrap();
    let template = root().join("packaging/gamekeeperConfigVersion.cmake.in");
    let mut command = Command::new("cmake");
    command.arg(format!("-DTEMPLATE={}", template.display())).arg(format!("-DFOLDER={}", folder.display()));
    let said = run(command.arg("-P").arg(root().join("tests/install/versions.cmake")));
    assert!(said.contains("all looked at"), "{said}");
}

/// Cargo is asked for what was tested: the versions that Cargo.lock has.
#[test]
fn building_keeps_to_the_locked_versions() {
    let (folder, prefix) = (temporary("cargo"), temporary("locked"));
    std::fs::create_dir_all(&folder).unwrap();
    let cargo = folder.join("cargo");
    std::fs::write(&cargo, "#!/bin/sh\necho \"$@\" >\"$CARGO_TARGET_DIR/asked\"\nexit 7\n").unwrap();
    std::fs::set_permissions(&cargo, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut command = Command::new(root().join("install.sh"));
    command.arg("--prefix").arg(&prefix).env_remove("DESTDIR");
    let output = output(command.env("CARGO", &cargo).env("CARGO_TARGET_DIR", &folder));
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    let asked = std::fs::read_to_string(folder.join("asked")).unwrap();
    assert!(asked.split_whitespace().any(|word| word == "--locked"), "{asked}");
    assert!(!prefix.exists(), "nothing was built, and something installed");
}

#[test]
fn a_second_installation_over_the_first_leaves_the_same() {
    let prefix = installed("twice", &[]);
    let list = || run(Command::new("find").arg(&prefix).args(["-printf", "%P %l %s\n"]));
    let before = list();
    run(&mut script(&[&format!("--prefix={}", prefix.display())]));
    assert_eq!(list(), before);
}

#[test]
fn wrong_arguments_install_nothing_and_say_why() {
    let prefix = temporary("nothing");
    let option = format!("--prefix={}", prefix.display());
    for (arguments, why) in [
        (["--libdir=../lib", &option], "must be a plain path inside the prefix"),
        (["--libdir=/somewhere/else", &option], "lies outside the prefix"),
        (["--libdir=lib;rm", &option], "characters other than letters"),
        (["--includedir=in \"clude", &option], "characters other than letters"),
        (["--colour=red", &option], "unknown argument"),
        ([&option, "--includedir"], "wants a directory"),
        ([&option, "--from=/nowhere/at/all"], "--from names no directory"),
    ] {
        let output = output(&mut script(&arguments));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(why), "{arguments:?}: {said}");
        assert!(!prefix.exists(), "{arguments:?} installed something");
    }
}
