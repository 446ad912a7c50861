"""The commands, thin and alike: settings, options, stage, result lines. The flags are in `flags`."""
