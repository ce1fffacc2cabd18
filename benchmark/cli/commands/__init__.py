"""The commands: their flags, their help, and worked examples. What they do lies a folder above."""
