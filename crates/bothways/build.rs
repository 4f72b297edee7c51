//! Hands facts of the build to `bothways version`.

use std::env;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=BOTHWAYS_COMMIT");
    fact("TARGET", env::var("TARGET").ok());
    fact("PROFILE", env::var("PROFILE").ok());
    fact("COMPILER", compiler());
}

fn fact(name: &str, value: Option<String>) {
    println!("cargo:rustc-env=BOTHWAYS_{name}={}", value.as_deref().unwrap_or("unknown"));
}

fn compiler() -> Option<String> {
    let output = Command::new(env::var_os("RUSTC")?).arg("--version").output().ok()?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}
