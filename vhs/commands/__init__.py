"""One file a command: resolve, open, run, frame, write. No maths, no tensor loops."""
