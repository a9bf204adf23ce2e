//! The `gantry` binary. Everything is in the library; see [`gantry::daemon`].

fn main() -> std::process::ExitCode {
    gantry::daemon::main(std::env::args_os())
}
