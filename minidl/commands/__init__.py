"""The commands of `minidl`: each module has `add_arguments(parser)` and `run(args) -> exit code`."""
