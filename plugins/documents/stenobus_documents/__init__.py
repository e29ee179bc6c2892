"""Six document stages, each a plugin on its own subject: clean, extract, map, outline, write, output."""
