//! Linker settings, and the check that the torch being linked is the one that `pyproject.toml` requires.

use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=pyproject.toml");
    if env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        // torch-sys names every library of torch. Keep those whose symbols are used: no CUDA library then, and one
        // wheel for machines with and without a GPU.
        println!("cargo:rustc-link-arg=-Wl,--as-needed");
    }
    // Set by torch-sys, which links torch: `.../torch/lib`.
    if let Some(library) = env::var_os("DEP_TCH_LIBTORCH_LIB") {
        check_torch(&PathBuf::from(library));
    }
}

/// The wheel's metadata (`torch==X` in `pyproject.toml`) is what the package checks at import time: it must be the truth.
fn check_torch(library: &Path) {
    let version_file = library.with_file_name("version.py");
    let Ok(text) = fs::read_to_string(&version_file) else { return }; // libtorch alone, without Python
    let linked = between(&text, "__version__ = '", "'").unwrap_or_default();
    let linked = linked.split('+').next().unwrap_or_default();
    let project = fs::read_to_string("pyproject.toml").unwrap_or_default();
    let required = between(&project, "\"torch==", "\"").unwrap_or_default();
    assert!(
        linked == required,
        "pyproject.toml requires torch=={required}, but torch {linked} in {} would be linked; \
         install torch=={required} there, or change the requirement",
        library.display()
    );
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    text.split_once(start)?.1.split_once(end).map(|(found, _)| found)
}
