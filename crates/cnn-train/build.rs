//! Tells the crate whether the compiler has AVX-512 intrinsics, which are newer than the oldest one that it builds with.

fn main() {
    autocfg::emit_possibility("avx512_intrinsics");
    if autocfg::new().probe_rustc_version(1, 89) {
        autocfg::emit("avx512_intrinsics");
    }
    autocfg::rerun_path("build.rs");
}
