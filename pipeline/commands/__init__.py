"""What a user can ask for, one module a command: parse, call a room, print what came of it.

A command reads its words before it imports what it needs for the work, which takes seconds: `--help` and a mistake are
answered at once. `jobs/` holds one script a command, to be run or submitted as it is.
"""
