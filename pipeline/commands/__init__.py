"""The commands, one module each: parse the command line, call a subpackage, print the result.

A command parses its arguments before it imports the libraries for its work, which takes seconds, so that `--help` and
mistakes are answered at once. `jobs/` holds one script per command, to be run or submitted as it is.
"""
